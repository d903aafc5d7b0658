//! Delays between retries.

use std::time::{Duration, Instant};

/// Delay after the first failure.
const FIRST: Duration = Duration::from_millis(500);

/// Largest delay. A probe is right again within 10 s after the API returns.
const MAX: Duration = Duration::from_secs(6);

/// Time without a failure after which the delays start over.
const RESET: Duration = Duration::from_secs(30);

/// Number of failures in a row that are many.
const MANY: u32 = 3;

/// The failures in a row.
#[derive(Debug, Default)]
pub(super) struct Retries {
    failures: u32,
    last: Option<Instant>,
}

impl Retries {
    /// Counts a failure. Returns the time until the next attempt: half of it is random, so that many probes do not come
    /// back at the same time.
    pub(super) fn delay(&mut self) -> Duration {
        if self.last.is_none_or(|at| at.elapsed() >= RESET) {
            self.failures = 0;
        }
        self.last = Some(Instant::now());
        let doubled = FIRST.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures += 1;
        doubled.min(MAX).mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Whether the last attempts have all failed.
    pub(super) fn are_many(&self) -> bool {
        self.failures >= MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit_and_differ() {
        let mut retries = Retries::default();
        let delays: Vec<Duration> = (0..40).map(|_| retries.delay()).collect();
        for (at, full) in [(0, 500), (1, 1_000), (2, 2_000), (3, 4_000), (4, 6_000), (39, 6_000)] {
            let full = Duration::from_millis(full);
            assert!(delays[at] >= full / 2 && delays[at] <= full, "{delays:?}");
        }
        assert!(delays[5..].windows(2).any(|pair| pair[0] != pair[1]), "{delays:?}");
        assert!(retries.are_many() && !Retries::default().are_many());
    }

    #[test]
    fn an_old_failure_does_not_count() {
        let long_ago = Instant::now().checked_sub(RESET);
        let mut retries = Retries { failures: 9, last: long_ago };
        assert!(long_ago.is_some() && retries.delay() <= FIRST);
    }
}
