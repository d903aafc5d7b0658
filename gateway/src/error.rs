//! The gateway's errors: blame, kind, and conversion to an answer.

use protocol::{ErrorBody, ErrorKind, KeyError, ShardId};
use service::problem::Problem;

/// Seconds after which a client may try a shard again.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Why a request was not done. Cheap to clone: everybody who waits for one fetch gets its error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The key breaks a rule.
    #[error("{source}")]
    BadKey {
        /// Which rule.
        #[from]
        source: KeyError,
    },
    /// The body cannot be used.
    #[error("{}", problem.body.detail)]
    BadBody {
        /// What is wrong with it, with its kind: not the required JSON, an invalid key, or too long.
        problem: Problem,
    },
    /// A page of an origin that is not in `ADMIN_ORIGINS` called an admin path.
    #[error("pages of {origin} may not call this; ADMIN_ORIGINS lists those that may")]
    OriginNotAllowed {
        /// The origin as sent.
        origin: String,
    },
    /// A page sent something that is not declared as JSON.
    #[error("a page must send Content-Type: application/json")]
    NotJson,
    /// The shard refused the connection, broke it, shed the request, or took too long.
    #[error("Shard {shard} unavailable")]
    ShardUnavailable {
        /// The shard.
        shard: ShardId,
        /// What happened, for the log.
        cause: String,
    },
    /// The shard's answer is not one of the contract's.
    #[error("Shard {shard} gave an answer that cannot be used: {reason}")]
    BadShardAnswer {
        /// The shard.
        shard: ShardId,
        /// What is wrong with it.
        reason: String,
    },
    /// The shard is full and said so; its error is passed on.
    #[error("{}", answer.detail)]
    ShardFull {
        /// What the shard said.
        answer: ErrorBody,
    },
    /// A fault of the gateway.
    #[error("a fault of the gateway: {what}; its log says more")]
    Internal {
        /// What failed.
        what: &'static str,
    },
}

/// Who is to blame for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The request cannot be fulfilled.
    Client,
    /// A shard did not do its part.
    Shard,
    /// The gateway has a fault.
    Gateway,
}

impl Blame {
    /// As a label value.
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
    /// Who is to blame.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::BadKey { .. } | Self::BadBody { .. } | Self::OriginNotAllowed { .. } | Self::NotJson => {
                Blame::Client
            }
            Self::ShardUnavailable { .. } | Self::BadShardAnswer { .. } | Self::ShardFull { .. } => {
                Blame::Shard
            }
            Self::Internal { .. } => Blame::Gateway,
        }
    }

    /// The stable name; it decides the status.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadKey { .. } => ErrorKind::BadKey,
            Self::BadBody { problem } => problem.body.kind,
            Self::OriginNotAllowed { .. } => ErrorKind::OriginNotAllowed,
            Self::NotJson => ErrorKind::NotJson,
            Self::ShardUnavailable { .. } => ErrorKind::ShardUnavailable,
            Self::BadShardAnswer { .. } => ErrorKind::BadShardAnswer,
            Self::ShardFull { answer } => answer.kind,
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
        match err {
            Error::ShardUnavailable { .. } => problem.retry_after(RETRY_AFTER_SECONDS),
            _ => problem,
        }
    }
}
