//! What is measured, and the ratios of it.

use super::answer::Answer;
use super::client::Answered;
use super::row::Row;
use super::side::{Side, TrafficPath};
use crate::statistics::Quartiles;

/// One slice of full load on one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) per_second: f64,
    /// CPU microseconds of the server a request.
    pub(super) cpu: f64,
    /// Memory in bytes at the end.
    pub(super) memory: u64,
    /// The share of the requests that no shard received.
    pub(super) hits: f64,
}

/// The slices of one server in one row.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) side: Side,
    /// The sizes of an answer.
    pub(super) answer: Answer,
    /// One element a round.
    pub(super) slices: Vec<Slice>,
}

impl Measured {
    pub(super) fn quartiles(&self, figure: fn(&Slice) -> f64) -> Option<Quartiles> {
        Quartiles::of(self.slices.iter().map(figure))
    }
}

/// Percentiles of one open-loop slice, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    /// The share of requests that the generator sent late by its own fault.
    pub(super) late: f64,
}

impl Percentiles {
    /// Returns `None` without latencies.
    pub(super) fn of(answered: Answered) -> Option<Self> {
        let Answered { mut latencies, late } = answered;
        latencies.sort_unstable();
        let at = |permille: usize| {
            let place = (latencies.len() * permille).div_ceil(1_000).checked_sub(1)?;
            latencies.get(place).map(|latency| latency.as_secs_f64() * 1e3)
        };
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 requests")]
        let late = late as f64 / latencies.len() as f64;
        Some(Self { p50: at(500)?, p99: at(990)?, p999: at(999)?, late })
    }
}

/// Latencies of gateway and peer at the same rate, in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct LatencyPair {
    pub(super) peer: Side,
    pub(super) rate: f64,
    pub(super) ours: Percentiles,
    pub(super) theirs: Percentiles,
}

/// The results of one row on one path.
#[derive(Clone, Debug)]
pub(super) struct RowFigures {
    pub(super) row: Row,
    pub(super) path: TrafficPath,
    /// The gateway first.
    pub(super) sides: Vec<Measured>,
    pub(super) latencies: Vec<LatencyPair>,
}

/// Ratios of the gateway to a peer, over the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// The row.
    pub row: Row,
    /// The path.
    pub path: TrafficPath,
    /// The peer.
    pub peer: Side,
    /// Requests per second: more than 1 is better.
    pub requests: Quartiles,
    /// CPU time a request: less than 1 is better.
    pub cpu: Quartiles,
    /// The 99th percentile of latency, if it was measured: less than 1 is better.
    pub p99: Option<Quartiles>,
}

impl RowFigures {
    pub(super) fn ratios(&self) -> Vec<Ratio> {
        let Some((ours, peers)) = self.sides.split_first() else { return Vec::new() };
        let of = |peer: &Measured| {
            let ratio = |figure: fn(&Slice) -> f64| {
                let pairs = ours.slices.iter().zip(&peer.slices);
                Quartiles::of(pairs.map(|(ours, theirs)| figure(ours) / figure(theirs)))
            };
            let latencies = self.latencies.iter().filter(|pair| pair.peer == peer.side);
            Some(Ratio {
                row: self.row,
                path: self.path,
                peer: peer.side,
                requests: ratio(|slice| slice.per_second)?,
                cpu: ratio(|slice| slice.cpu)?,
                p99: Quartiles::of(latencies.map(|pair| pair.ours.p99 / pair.theirs.p99)),
            })
        };
        peers.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_percentile_is_a_latency_that_occurred() {
        let of = |milliseconds: &[u64], late| {
            let latencies = milliseconds.iter().copied().map(Duration::from_millis).collect();
            Percentiles::of(Answered { latencies, late })
        };
        let thousand: Vec<u64> = (1..=1_000).rev().collect();
        let all = of(&thousand, 20).unwrap();
        assert_eq!((all.p50, all.p99, all.p999, all.late), (500.0, 990.0, 999.0, 0.02));
        assert_eq!(of(&[7], 0).unwrap().p999, 7.0);
        assert!(of(&[], 0).is_none());
    }

    #[test]
    fn a_ratio_is_the_gateway_over_its_peer_round_by_round() {
        let slice = |per_second, cpu| Slice { per_second, cpu, memory: 0, hits: 0.0 };
        let side = |side, slices| Measured { side, answer: Answer { status: 200, head: 1, body: 1 }, slices };
        let figures = RowFigures {
            row: Row::Base,
            path: TrafficPath::Proxied,
            sides: vec![
                side(Side::Gateway, vec![slice(10.0, 3.0), slice(30.0, 3.0)]),
                side(Side::Nginx, vec![slice(20.0, 2.0), slice(20.0, 1.0)]),
            ],
            latencies: Vec::new(),
        };
        let [ratio] = &figures.ratios()[..] else { panic!("one peer") };
        assert_eq!((ratio.peer, ratio.requests.median, ratio.cpu.median), (Side::Nginx, 1.0, 2.25));
        assert!(ratio.p99.is_none());
    }
}
