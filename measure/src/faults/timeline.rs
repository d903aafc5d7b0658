//! When a row's load, fault and recovery begin and end.

use std::ops::Range;
use std::time::Duration;

/// The times of a row. Its repetitions follow each other without a gap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    /// Requests a second of the even load.
    pub(crate) rate: f64,
    /// Number of repetitions.
    pub(crate) repetitions: u32,
    /// Seconds without a fault, before it.
    pub(crate) undisturbed: f64,
    /// Seconds from the beginning of the fault to its end.
    pub(crate) fault: f64,
    /// Seconds to recover.
    pub(crate) recovery: f64,
    /// Time-out of the gateway's calls in milliseconds: the default, or shorter than the fault.
    pub(crate) upstream_timeout_ms: u32,
    /// Whether times are judged. A short run on a busy machine says nothing about them.
    pub(crate) judges_times: bool,
}

impl Timeline {
    pub(crate) const FULL: Self = Self {
        rate: 400.0,
        repetitions: 3,
        undisturbed: 5.0,
        fault: 10.0,
        recovery: 6.0,
        upstream_timeout_ms: 5_000,
        judges_times: true,
    };
    pub(crate) const QUICK: Self = Self {
        rate: 120.0,
        repetitions: 1,
        undisturbed: 1.5,
        fault: 3.0,
        recovery: 3.5,
        upstream_timeout_ms: 1_200,
        judges_times: false,
    };

    fn repetition(&self) -> f64 {
        self.undisturbed + self.fault + self.recovery
    }

    /// Seconds of load.
    pub(crate) fn seconds(&self) -> f64 {
        f64::from(self.repetitions) * self.repetition()
    }

    /// The undisturbed time of a repetition, since the load began.
    pub(crate) fn calm(&self, repetition: u32) -> Range<Duration> {
        let begin = f64::from(repetition) * self.repetition();
        span(begin, begin + self.undisturbed)
    }

    /// From the beginning of a repetition's fault to its end.
    pub(crate) fn disturbed(&self, repetition: u32) -> Range<Duration> {
        let begin = f64::from(repetition) * self.repetition() + self.undisturbed;
        span(begin, begin + self.fault)
    }

    /// From the end of a repetition's fault to the next one's calm.
    pub(crate) fn after(&self, repetition: u32) -> Range<Duration> {
        let end = f64::from(repetition + 1) * self.repetition();
        span(end - self.recovery, end)
    }
}

fn span(begin: f64, end: f64) -> Range<Duration> {
    Duration::from_secs_f64(begin)..Duration::from_secs_f64(end)
}

#[cfg(test)]
mod tests {
    use super::Timeline;

    #[test]
    fn the_parts_of_all_repetitions_follow_each_other() {
        let timeline = Timeline::FULL;
        let mut end = std::time::Duration::ZERO;
        for repetition in 0..timeline.repetitions {
            let parts =
                [timeline.calm(repetition), timeline.disturbed(repetition), timeline.after(repetition)];
            for part in parts {
                assert_eq!(part.start, end);
                end = part.end;
            }
        }
        assert_eq!(end.as_secs_f64(), timeline.seconds());
    }
}
