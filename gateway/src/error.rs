//! The gateway's errors: blame, kind, and conversion to a response.

use protocol::{ErrorBody, ErrorKind, KeyError, ShardId};
use service::problem::Problem;

/// Values of `Retry-After` in seconds when a shard does not give one. They differ, so that clients do not all return at
/// the same moment.
const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u32> = 1..=3;

/// Why a request failed. Cheap to clone, because all waiters of one fetch get its error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The key is invalid.
    #[error("{source}")]
    BadKey {
        /// The violated rule.
        #[from]
        source: KeyError,
    },
    /// The request body is invalid, or there is no room for it.
    #[error("{}", problem.body.detail)]
    BadBody {
        /// The problem and its kind: not the required JSON, an invalid key, or too long.
        problem: Problem,
    },
    /// A page called an admin path, and its origin is not in `ADMIN_ORIGINS`.
    #[error("pages of {origin} may not call this; add the origin to ADMIN_ORIGINS to allow it")]
    OriginNotAllowed {
        /// The origin as sent.
        origin: String,
    },
    /// A page sent a body without `Content-Type: application/json`.
    #[error("requests from a page must have Content-Type: application/json")]
    NotJson,
    /// The shard refused or broke the connection, shed the request, or timed out.
    #[error("Shard {shard} unavailable")]
    ShardUnavailable {
        /// The shard.
        shard: ShardId,
        /// The cause, for the log.
        cause: String,
        /// The shard's own `Retry-After` in seconds.
        retry_after: Option<u32>,
    },
    /// The shard's answer violates the contract.
    #[error("Shard {shard} returned an invalid response: {reason}")]
    BadShardAnswer {
        /// The shard.
        shard: ShardId,
        /// The violation.
        reason: String,
    },
    /// The shard is full. Its error is passed on to the client.
    #[error("{}", answer.detail)]
    ShardFull {
        /// The shard.
        shard: ShardId,
        /// The shard's error body.
        answer: ErrorBody,
    },
    /// The process has no file descriptor left for a connection to a shard.
    #[error("the gateway has too many open files; try again, or raise its limit (ulimit -n)")]
    NoDescriptor,
    /// The process has no memory left for a shard's answer.
    #[error("other requests take all memory for bodies; try again later")]
    NoRoom,
    /// A bug in the gateway.
    #[error("internal error of the gateway: {what}; see its log")]
    Internal {
        /// The operation that failed.
        what: &'static str,
    },
}

/// The side that caused an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client: the request cannot be fulfilled.
    Client,
    /// A shard: it is unavailable, full, or its answer is invalid.
    Shard,
    /// The gateway: a bug, or a lack of descriptors or memory.
    Gateway,
}

impl Blame {
    /// The value of the metric label `blame`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Shard => "shard",
            Self::Gateway => "gateway",
        }
    }
}

impl Error {
    /// The shard that caused this error.
    #[must_use]
    pub fn shard(&self) -> Option<ShardId> {
        match self {
            Self::ShardUnavailable { shard, .. }
            | Self::BadShardAnswer { shard, .. }
            | Self::ShardFull { shard, .. } => Some(*shard),
            _ => None,
        }
    }

    /// The side that caused this error.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::BadBody { problem } if problem.body.kind == ErrorKind::Overloaded => Blame::Gateway,
            Self::BadKey { .. } | Self::BadBody { .. } | Self::OriginNotAllowed { .. } | Self::NotJson => {
                Blame::Client
            }
            Self::ShardUnavailable { .. } | Self::BadShardAnswer { .. } | Self::ShardFull { .. } => {
                Blame::Shard
            }
            Self::NoDescriptor | Self::NoRoom | Self::Internal { .. } => Blame::Gateway,
        }
    }

    /// The stable name of the error. It determines the HTTP status.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadKey { .. } => ErrorKind::BadKey,
            Self::BadBody { problem } => problem.body.kind,
            Self::OriginNotAllowed { .. } => ErrorKind::OriginNotAllowed,
            Self::NotJson => ErrorKind::NotJson,
            Self::ShardUnavailable { .. } => ErrorKind::ShardUnavailable,
            Self::BadShardAnswer { .. } => ErrorKind::BadShardAnswer,
            Self::ShardFull { answer, .. } => answer.kind,
            Self::NoDescriptor | Self::NoRoom => ErrorKind::Overloaded,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::BadBody { problem }
    }
}

impl From<Error> for Problem {
    fn from(err: Error) -> Self {
        let problem = Self::new(err.kind(), err.to_string());
        let own = || fastrand::u32(RETRY_AFTER_SECONDS);
        match err {
            Error::ShardUnavailable { retry_after, .. } => {
                problem.retry_after(retry_after.unwrap_or_else(own))
            }
            Error::NoDescriptor | Error::NoRoom => problem.retry_after(own()),
            Error::BadBody { problem } => problem,
            _ => problem,
        }
    }
}
