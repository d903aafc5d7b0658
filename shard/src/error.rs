//! Errors of data requests.

use protocol::{ErrorKind, KeyError};
use service::problem::Problem;

use crate::request_counts::RequestOutcome;
use crate::store::{Full, StoreLimits};

/// A refused data request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Client error: the key is invalid.
    Key(KeyError),
    /// Client error: the body is too long, incomplete, not the required JSON, or has an invalid key. Or there is no room
    /// for it.
    Body(Problem),
    /// Shard error: the store has no room for a write.
    StoreFull {
        /// The limit that is reached.
        full: Full,
        /// All limits.
        limits: StoreLimits,
    },
    /// Shard error: the store has no room to create the value of an absent key.
    Absent {
        /// The limit that is reached.
        full: Full,
        /// All limits.
        limits: StoreLimits,
    },
    /// Shard error: the queue is full.
    Overloaded,
}

impl Refusal {
    /// The outcome under which the request is counted.
    #[must_use]
    pub fn outcome(&self) -> RequestOutcome {
        match self {
            Self::Overloaded => RequestOutcome::Shed,
            Self::Body(problem) if problem.body.kind == ErrorKind::Overloaded => RequestOutcome::Shed,
            Self::Key(_) | Self::Body(_) | Self::StoreFull { .. } | Self::Absent { .. } => {
                RequestOutcome::Rejected
            }
        }
    }
}

impl From<KeyError> for Refusal {
    fn from(err: KeyError) -> Self {
        Self::Key(err)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Key(err) => err.into(),
            Refusal::Body(problem) => problem,
            Refusal::StoreFull { full, limits } => Self::new(
                ErrorKind::StoreFull,
                format!("{}; reset the shard or raise {}", holds(full, limits), setting(full)),
            ),
            Refusal::Absent { full, limits } => Self::new(
                ErrorKind::NotFound,
                format!("the key does not exist and cannot be created: {}", holds(full, limits)),
            ),
            Refusal::Overloaded => {
                Self::new(ErrorKind::Overloaded, "the queue of this shard is full; try again").retry_after(1)
            }
        }
    }
}

fn holds(full: Full, limits: StoreLimits) -> String {
    match full {
        Full::Keys => format!("this shard holds {} keys, which is its limit", limits.keys),
        Full::Bytes => format!("the key does not fit into this shard's limit of {} bytes", limits.bytes),
    }
}

fn setting(full: Full) -> &'static str {
    match full {
        Full::Keys => "SHARD_MAX_KEYS",
        Full::Bytes => "SHARD_MAX_BYTES",
    }
}
