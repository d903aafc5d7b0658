//! A budget for retries, so that retries cannot multiply the load of a failing shard.

use std::sync::atomic::{AtomicU32, Ordering};

/// Cost of a retry. An answer earns one, so at most a tenth of the calls are retries in the long run.
const COST: u32 = 10;
/// Largest balance: ten retries in a row.
const MAX: u32 = 10 * COST;

/// The budget of one shard, shared by all cores.
pub(crate) struct RetryBudget(AtomicU32);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU32::new(MAX))
    }
}

impl RetryBudget {
    /// Earns a tenth of a retry.
    pub(crate) fn earn(&self) {
        // A concurrent call may be overwritten or exceed the largest balance by a few. A full budget is not written.
        if self.0.load(Ordering::Relaxed) < MAX {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Pays for a retry. Returns whether the budget allows it.
    pub(crate) fn pay(&self) -> bool {
        let pay = |balance: u32| balance.checked_sub(COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_answers_earn_a_retry() {
        let budget = RetryBudget::default();
        assert_eq!((0..20).filter(|_| budget.pay()).count(), 10);
        (0..9).for_each(|_| budget.earn());
        assert!(!budget.pay());
        budget.earn();
        assert!(budget.pay() && !budget.pay());
    }
}
