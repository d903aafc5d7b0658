//! Decides whether a call is sent and repeated, and what its outcome says about the shard.

use super::failure::Failure;
use super::retries::RetryBudget;
use super::shard_health::{Change, ShardHealth};

/// A call to one shard.
pub(super) struct Call<'a> {
    pub(super) health: &'a ShardHealth,
    pub(super) retries: &'a RetryBudget,
    pub(super) shard: usize,
}

impl Call<'_> {
    /// Whether the breaker admits the call.
    pub(super) fn admitted(&self) -> Result<(), Failure> {
        if self.health.admit(self.shard) { Ok(()) } else { Err(Failure::Refused("its breaker is open")) }
    }

    /// Whether a read whose first attempt ended like this is repeated. The budget pays for it.
    pub(super) fn is_repeated<T>(&self, first: &Result<T, Failure>) -> bool {
        matches!(first, Err(Failure::BeforeAnswer(_))) && self.retries.pay()
    }

    /// Counts the outcome. An answer of any status or form is an answer. What was not sent says nothing.
    pub(super) fn ended<T>(&self, outcome: &Result<T, Failure>) -> Option<Change> {
        match outcome {
            Ok(_) | Err(Failure::Unreadable(_)) => {
                self.retries.earn();
                self.health.answered(self.shard)
            }
            Err(Failure::BeforeAnswer(_) | Failure::Unavailable(_) | Failure::Reset(_)) => {
                self.health.failed(self.shard)
            }
            Err(Failure::Refused(_) | Failure::NoDescriptor | Failure::NoRoom) => None,
        }
    }
}
