//! Why a call to a shard has no answer.

use protocol::ShardId;

use crate::error::Error;
use crate::http1::connection::Broken;
use crate::http1::connector::ConnectError;

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
}

impl From<ConnectError> for Failure {
    fn from(err: ConnectError) -> Self {
        if err.is_no_descriptor { Self::NoDescriptor } else { Self::Unavailable(err.cause) }
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::BeforeAnswer(cause) => Self::BeforeAnswer(cause),
            Broken::Unreadable(reason) => Self::Unreadable(reason),
            Broken::Reset(reason) => Self::Reset(reason),
            Broken::NoRoom => Self::NoRoom,
        }
    }
}
