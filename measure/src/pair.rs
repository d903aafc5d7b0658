//! A pair: the same load with and without what is measured, in alternating runs.

use anyhow::Result;
use serde::Serialize;

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Speed {
    /// Requests per second.
    pub(crate) per_second: f64,
    /// CPU time in microseconds per request.
    pub(crate) cpu_microseconds: f64,
}

impl Speed {
    /// Combines several runs of equal numbers of requests.
    #[expect(clippy::cast_precision_loss, reason = "a few runs")]
    fn whole(runs: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        Self {
            per_second: 1.0 / mean(|run| 1.0 / run.per_second),
            cpu_microseconds: mean(|run| run.cpu_microseconds),
        }
    }
}

/// Equally many runs with and without what is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Pair {
    /// The runs without it.
    pub(crate) without: Speed,
    /// The runs with it.
    pub(crate) with: Speed,
}

impl Pair {
    /// Calls `run` in this order: with it for `true`, without it for `false`. The second argument counts the earlier
    /// runs of the same side, so that both sides can use the same keys.
    pub(crate) fn measure(
        order: impl IntoIterator<Item = bool>,
        mut run: impl FnMut(bool, u64) -> Result<Speed>,
    ) -> Result<Self> {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for is_with in order {
            let side = if is_with { &mut with } else { &mut without };
            side.push(run(is_with, side.len() as u64)?);
        }
        Ok(Self { without: Speed::whole(&without), with: Speed::whole(&with) })
    }

    /// Returns the share of the throughput lost. Negative if the throughput was higher with it.
    pub(crate) fn loss(&self) -> f64 {
        1.0 - self.with.per_second / self.without.per_second
    }

    /// Returns the additional CPU time, as a share of the CPU time without it.
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
        let pair = |with| {
            let run = |is_with, _| Ok(speed(if is_with { with } else { 200.0 }));
            Pair::measure([true, false, false, true], run).unwrap()
        };
        assert!((pair(190.0).loss() - 0.05).abs() < 1e-9);
        assert!(pair(210.0).loss() < 0.0 && pair(210.0).more_cpu() < 0.0);
        assert!((pair(160.0).more_cpu() - 0.25).abs() < 1e-9);
    }
}
