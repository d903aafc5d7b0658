//! Determines when each request of a stream is due.
//!
//! Each request is due at a random moment of its own interval, independent of the answers. Equal intervals keep the
//! rate. Random moments in them model independent users: with fixed distances requests would hardly ever queue at a
//! shard whose service time is nearly constant.

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
    /// `rate` requests a second for `seconds`. Request i is due between i / rate and (i + 1) / rate.
    #[must_use]
    pub fn new(rate: f64, seconds: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and far below 2^63"
        )]
        // Slightly less, so that 0.1 × 30 is 3 and not 4.
        let count = (rate * seconds - 1e-9).ceil().max(0.0) as u64;
        Self { rate, count, first: 0.0 }
    }

    /// The same schedule, `seconds` later.
    #[must_use]
    pub fn later(self, seconds: f64) -> Self {
        Self { first: seconds, ..self }
    }

    /// The number of requests.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// When each request is due, from the start. The times depend on the seed, but not on the keys drawn with the
    /// same seed.
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
    pub fn dues(self, seed: u64) -> impl Iterator<Item = Duration> {
        let mut rng = fastrand::Rng::with_seed(!seed);
        (0..self.count).map(move |i| Duration::from_secs_f64(self.first + (i as f64 + rng.f64()) / self.rate))
    }

    /// Starts a thread that sends each due time at that time. It ends after the last one, or when the receiver is
    /// dropped.
    ///
    /// A thread is used because tokio's timer rounds up to whole milliseconds, which would add to the latency.
    ///
    /// # Errors
    /// Returns an error when the thread cannot be started.
    pub fn release(self, seed: u64, start: Instant, to: UnboundedSender<Instant>) -> std::io::Result<()> {
        std::thread::Builder::new().name("schedule".into()).spawn(move || {
            for due in self.dues(seed).map(|due| start + due) {
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
    fn each_request_is_due_in_its_own_interval_and_anywhere_in_it() {
        let schedule = Schedule::new(50.0, 20.0);
        assert_eq!(schedule.count(), 1_000);
        let dues: Vec<_> = schedule.dues(1).collect();
        assert!(dues == schedule.dues(1).collect::<Vec<_>>() && dues != schedule.dues(2).collect::<Vec<_>>());
        let mut places = Vec::new();
        for (i, due) in (0u32..).zip(&dues) {
            let place = due.as_secs_f64() * 50.0 - f64::from(i);
            // A due time is rounded to a nanosecond.
            assert!((-1e-6..1.0 + 1e-6).contains(&place), "{i} at {due:?}");
            places.push(place);
        }
        // With a thousand uniform values the mean has a standard error of 0.009. Each tenth has 100 of them with a
        // standard deviation of 9.5.
        assert!((places.iter().sum::<f64>() / 1_000.0 - 0.5).abs() < 0.05);
        let in_tenth = |tenth: u32| {
            let from = f64::from(tenth) / 10.0;
            places.iter().filter(|place| (from..from + 0.1).contains(*place)).count()
        };
        assert!((0..10).all(|tenth| (50..150).contains(&in_tenth(tenth))));
        assert_eq!(schedule.later(3.0).dues(1).next(), Some(dues[0] + Duration::from_secs(3)));
    }

    #[test]
    fn no_rounding_adds_up() {
        let long = Schedule::new(30.0, 86_400.0);
        assert_eq!(long.count(), 2_592_000);
        let last = long.dues(1).last().unwrap().as_secs_f64();
        assert!((86_400.0 - 1.0 / 30.0..86_400.000_001).contains(&last), "{last}");
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
        schedule.release(7, start, sender).unwrap();
        for planned in schedule.dues(7) {
            let due = released.recv().await.unwrap();
            assert!(Instant::now() >= due);
            assert_eq!(due, start + planned);
        }
        assert_eq!(released.recv().await, None);
    }
}
