//! Why a call to a shard has no answer.

use hyper_util::client::legacy::Error as ClientError;
use std::error::Error as StdError;
use std::io::{Error as IoError, ErrorKind};

use super::connector::Witness;
use crate::error::Error;
use protocol::ShardId;

/// Error numbers of Linux for "too many open files": of the process, and of the system.
const TOO_MANY_FILES: [i32; 2] = [24, 23];

/// Why a call has no answer.
pub(super) enum Failure {
    /// The connection failed before the first byte of an answer.
    BeforeAnswer(String),
    /// The shard is unreachable or does not answer.
    Unavailable(String),
    /// The answer is not HTTP, broke off, or is too long.
    Unreadable(String),
    /// The connection was reset in mid-answer, as by a process that ends.
    Reset(String),
    /// Nothing was sent, because the breaker is open or too many requests wait for the shard.
    Refused(&'static str),
    /// The gateway has no descriptor left. It is not the shard's fault.
    NoDescriptor,
    /// The gateway has no memory left for the answer.
    NoRoom,
}

impl Failure {
    /// The error name in spans.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::BeforeAnswer(_) => "connection_lost",
            Self::Unavailable(_) => "unavailable",
            Self::Unreadable(_) => "unreadable_answer",
            Self::Reset(_) => "connection_reset",
            Self::Refused(_) => "refused",
            Self::NoDescriptor => "no_descriptor",
            Self::NoRoom => "no_room",
        }
    }

    pub(super) fn of(err: &ClientError, witness: Option<&Witness>) -> Self {
        let root = root_cause(err);
        let number = root.downcast_ref::<IoError>().and_then(IoError::raw_os_error);
        let cause = root.to_string();
        match witness {
            _ if number.is_some_and(|number| TOO_MANY_FILES.contains(&number)) => Self::NoDescriptor,
            _ if err.is_connect() => Self::Unavailable(cause),
            Some(witness) if witness.answer_began() => Self::in_answer(root, cause),
            _ => Self::BeforeAnswer(cause),
        }
    }

    /// The cause, if the shard gave no answer.
    pub(super) fn cause(&self) -> Option<&str> {
        match self {
            Self::BeforeAnswer(cause) | Self::Unavailable(cause) | Self::Reset(cause) => Some(cause),
            Self::Unreadable(_) | Self::Refused(_) | Self::NoDescriptor | Self::NoRoom => None,
        }
    }

    /// The error of a call that failed like this.
    pub(super) fn error(self, shard: ShardId) -> Error {
        match self {
            Self::BeforeAnswer(cause) | Self::Unavailable(cause) => {
                Error::ShardUnavailable { shard, cause, retry_after: None }
            }
            Self::Unreadable(reason) | Self::Reset(reason) => Error::BadShardAnswer { shard, reason },
            Self::Refused(why) => Error::ShardUnavailable { shard, cause: why.into(), retry_after: None },
            Self::NoDescriptor => Error::NoDescriptor,
            Self::NoRoom => Error::NoRoom,
        }
    }

    /// The failure of an answer that began, by the first error of its chain.
    pub(super) fn in_answer(root: &(dyn StdError + 'static), reason: String) -> Self {
        let kind = root.downcast_ref::<IoError>().map(IoError::kind);
        if kind == Some(ErrorKind::ConnectionReset) { Self::Reset(reason) } else { Self::Unreadable(reason) }
    }
}

/// The first error of a chain.
pub(super) fn root_cause<'a>(err: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut root = err;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}
