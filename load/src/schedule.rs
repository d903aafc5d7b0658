//! When each request of a stream is due: at equal distances from the start, whatever the answers.

use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// The due times of one stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    rate: f64,
    count: u64,
    first: f64,
}

impl Schedule {
    /// `rate` requests a second for `seconds`: request i is due at i / rate, the last one before `seconds`.
    #[must_use]
    pub fn new(rate: f64, seconds: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and far below 2^63"
        )]
        // A hair less, so that 0.1 × 30 is 3 and not 4.
        let count = (rate * seconds - 1e-9).ceil().max(0.0) as u64;
        Self { rate, count, first: 0.0 }
    }

    /// The same, all `seconds` later.
    #[must_use]
    pub fn later(self, seconds: f64) -> Self {
        Self { first: seconds, ..self }
    }

    /// How many requests there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// When request `i` is due, from the start.
    #[must_use]
    pub fn due(&self, i: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
        let i = i as f64;
        Duration::from_secs_f64(self.first + i / self.rate)
    }

    /// Starts a thread that sends each due time when it has come. It ends after the last one or when nobody listens.
    ///
    /// A thread, because tokio's timer rounds up to whole milliseconds, which the latency would then contain.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn release(self, start: Instant, to: UnboundedSender<Instant>) -> std::io::Result<()> {
        std::thread::Builder::new().name("schedule".into()).spawn(move || {
            for due in (0..self.count).map(|i| start + self.due(i)) {
                while let Some(rest) = due.checked_duration_since(Instant::now()).filter(|r| !r.is_zero()) {
                    std::thread::park_timeout(rest);
                }
                if to.send(due).is_err() {
                    return;
                }
            }
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_equal_distances() {
        let schedule = Schedule::new(50.0, 2.0);
        assert_eq!(schedule.count(), 100);
        assert_eq!(schedule.due(0), Duration::ZERO);
        assert_eq!(schedule.due(1), Duration::from_millis(20));
        assert_eq!(schedule.due(99), Duration::from_millis(1_980));
        assert_eq!(schedule.later(3.0).due(99), Duration::from_millis(4_980));
        // No rounding adds up: the last of a long run is where it belongs.
        let long = Schedule::new(30.0, 86_400.0);
        assert_eq!(long.count(), 2_592_000);
        assert!(
            long.due(2_591_999).abs_diff(Duration::from_secs_f64(86_400.0 - 1.0 / 30.0)).as_nanos() < 1_000
        );
    }

    #[test]
    fn fractions_do_not_make_an_extra_request() {
        assert_eq!(Schedule::new(0.3, 10.0).count(), 3);
        assert_eq!(Schedule::new(130.0, 0.1).count(), 13);
        assert_eq!(Schedule::new(0.3, 1.0).count(), 1);
    }

    #[tokio::test]
    async fn none_is_released_before_it_is_due_and_all_come() {
        let (sender, mut released) = tokio::sync::mpsc::unbounded_channel();
        let schedule = Schedule::new(1_000.0, 0.1);
        let start = Instant::now();
        schedule.release(start, sender).unwrap();
        let mut seen = 0;
        while let Some(due) = released.recv().await {
            assert!(Instant::now() >= due);
            assert_eq!(due, start + schedule.due(seen));
            seen += 1;
        }
        assert_eq!(seen, 100);
    }
}
