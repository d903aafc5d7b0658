//! Pairs of runs, with and without what is measured.

use serde::Serialize;

/// So many times the requests go straight to a shard: it answers them faster, and a slice has connections of its own,
/// which are not what is measured.
pub(crate) const STRAIGHT: u64 = 4;

/// So many times fewer slices are by k6, each of as many times more requests: it takes a third of a second to start.
pub(crate) const K6_FEWER: u64 = 4;

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Speed {
    /// Requests a second.
    pub(crate) per_second: f64,
    /// Processor time of generator, gateway, shards and watcher together (side by side without the watcher, by k6 without the
    /// generator too), in microseconds a request.
    pub(crate) cpu_microseconds: f64,
}

impl Speed {
    /// Of several runs of as many requests each.
    #[expect(clippy::cast_precision_loss, reason = "a few runs")]
    pub(crate) fn whole(runs: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        Self {
            per_second: 1.0 / mean(|run| 1.0 / run.per_second),
            cpu_microseconds: mean(|run| run.cpu_microseconds),
        }
    }
}

/// Two runs side by side, or several of each in turn.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair {
    /// Without the watcher.
    pub(crate) without: Speed,
    /// With it.
    pub(crate) with: Speed,
    /// Whether the run with it was the first.
    pub(crate) watched_first: bool,
    /// The share of the machine's CPU time that the watcher's own process took, where it took it from both; else 0.
    pub(crate) own_share: f64,
}

impl Pair {
    /// The share of the throughput that the watcher took; less than 0 if there was more with it.
    pub(crate) fn loss(&self) -> f64 {
        1.0 - self.with.per_second / self.without.per_second + self.own_share
    }

    /// The CPU time that the watcher took, as a share of what there was without it.
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
