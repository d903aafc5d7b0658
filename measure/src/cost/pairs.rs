//! Pairs of runs, with and without what is measured.

use serde::Serialize;

/// Factor for the requests sent directly to a shard. A shard answers faster, and each slice opens its own
/// connections, which are not to be measured.
pub(crate) const STRAIGHT: u64 = 4;

/// k6 runs this many times fewer slices, each with this many times more requests, because k6 takes a third of a
/// second to start.
pub(crate) const K6_FEWER: u64 = 4;

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Speed {
    /// Requests per second.
    pub(crate) per_second: f64,
    /// CPU time in microseconds per request, of generator, gateway, shards and watcher together. Side by side it
    /// excludes the watcher. With k6 it also excludes the generator.
    pub(crate) cpu_microseconds: f64,
}

impl Speed {
    /// Combines several runs of equal numbers of requests.
    #[expect(clippy::cast_precision_loss, reason = "a few runs")]
    pub(crate) fn whole(runs: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        Self {
            per_second: 1.0 / mean(|run| 1.0 / run.per_second),
            cpu_microseconds: mean(|run| run.cpu_microseconds),
        }
    }
}

/// Two runs side by side, or several alternating runs of each.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair {
    /// The run without the watcher.
    pub(crate) without: Speed,
    /// The run with the watcher.
    pub(crate) with: Speed,
    /// Whether the run with the watcher was first.
    pub(crate) watched_first: bool,
    /// The share of the machine's CPU time that the watcher's own process took, if it slowed down both runs; else 0.
    pub(crate) own_share: f64,
}

impl Pair {
    /// Returns the share of the throughput lost with the watcher. Negative if the throughput was higher with it.
    pub(crate) fn loss(&self) -> f64 {
        1.0 - self.with.per_second / self.without.per_second + self.own_share
    }

    /// Returns the additional CPU time with the watcher, as a share of the CPU time without it.
    pub(crate) fn more_cpu(&self) -> f64 {
        self.with.cpu_microseconds / self.without.cpu_microseconds - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_runs_are_as_fast_as_one_that_takes_their_time() {
        let run = |per_second, cpu_microseconds| Speed { per_second, cpu_microseconds };
        let whole = Speed::whole(&[run(100.0, 10.0), run(300.0, 20.0)]);
        assert!((whole.per_second - 150.0).abs() < 1e-9 && (whole.cpu_microseconds - 15.0).abs() < 1e-9);
    }

    #[test]
    fn a_loss_is_a_share_of_what_there_was_without() {
        let speed = |per_second| Speed { per_second, cpu_microseconds: 2_000.0 / per_second };
        let pair =
            |with| Pair { without: speed(200.0), with: speed(with), watched_first: false, own_share: 0.0 };
        assert!((pair(190.0).loss() - 0.05).abs() < 1e-9);
        let shared = Pair { own_share: 0.01, ..pair(190.0) };
        assert!((shared.loss() - 0.06).abs() < 1e-9, "what both had to do without is added");
        assert!(pair(210.0).loss() < 0.0 && pair(210.0).more_cpu() < 0.0);
        assert!((pair(160.0).more_cpu() - 0.25).abs() < 1e-9);
    }
}
