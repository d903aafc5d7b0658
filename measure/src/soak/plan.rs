//! Length, seed and rests of a run.

use std::time::Duration;

/// Longest warm-up. In it caches, pools and tables reach their sizes.
const WARM_UP: Duration = Duration::from_secs(15 * 60);

/// Longest rest. Idle connections of the lab's pools end within a minute.
const REST: Duration = Duration::from_secs(100);

/// Time between the ends of two rests, about.
const BETWEEN: Duration = Duration::from_secs(450);

/// Length and seed of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Minutes.
    pub minutes: u32,
    /// Determines scenarios, mitigations, faults and their times.
    pub seed: u64,
}

impl Plan {
    fn length(self) -> Duration {
        Duration::from_secs(60 * u64::from(self.minutes))
    }

    /// The length of a rest.
    pub(super) fn rest(self) -> Duration {
        REST.min(self.length() / 10)
    }

    /// The ends of the rests: of the warm-up first, of the run last.
    pub(super) fn rests(self) -> Vec<Duration> {
        let warm_up = WARM_UP.min(self.length() / 4);
        let judged = self.length() - warm_up;
        let parts = u32::try_from(judged.as_secs() / BETWEEN.as_secs()).unwrap_or(u32::MAX).max(1);
        (0..=parts).map(|part| warm_up + judged * part / parts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Plan;

    #[test]
    fn a_run_rests_after_its_warm_up_and_at_its_end() {
        let minutes = |minutes| {
            let rests = Plan { minutes, seed: 1 }.rests();
            rests.iter().map(|at| at.as_secs_f64() / 60.0).collect::<Vec<_>>()
        };
        assert_eq!(minutes(60), [15.0, 22.5, 30.0, 37.5, 45.0, 52.5, 60.0]);
        assert_eq!(minutes(4), [1.0, 4.0]);
        assert_eq!(Plan { minutes: 1, seed: 1 }.rest().as_secs(), 6);
    }
}
