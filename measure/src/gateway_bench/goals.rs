//! The goals of the comparison.

use super::figures::Ratio;
use super::row::Row;
use super::side::{Side, TrafficPath};
use crate::statistics::Quartiles;

/// A figure of a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Requests,
    Cpu,
    P99,
}

/// One goal. It holds for each of the peers.
#[derive(Clone, Copy, Debug)]
struct Goal {
    row: Row,
    path: TrafficPath,
    peers: &'static [Side],
    figure: Figure,
    /// The smallest ratio of requests/s, or the largest of the others.
    limit: f64,
    /// Whether an interval that contains 1 is enough: the generator bounds the figure, or the noise.
    may_contain_one: bool,
}

const PROXIES: &[Side] = &[Side::Nginx, Side::Haproxy];
const CACHES: &[Side] = &[Side::Nginx, Side::Varnish];
const NGINX: &[Side] = &[Side::Nginx];

const GOALS: [Goal; 10] = {
    use Figure::{Cpu, P99, Requests};
    use TrafficPath::{Cached, Proxied};
    [
        goal(Row::Base, Proxied, PROXIES, Cpu, 1.0, false),
        goal(Row::Base, Proxied, PROXIES, Requests, 1.0, false),
        goal(Row::Base, Cached, NGINX, Cpu, 0.8, false),
        goal(Row::Base, Cached, NGINX, Requests, 1.0, true),
        goal(Row::ZipfKeys, Cached, CACHES, Cpu, 0.9, false),
        goal(Row::ZipfKeys, Cached, CACHES, Requests, 1.0, true),
        goal(Row::LargeValue, Proxied, NGINX, Requests, 0.9, false),
        goal(Row::LargeValue, Cached, NGINX, Requests, 0.9, false),
        goal(Row::Base, Proxied, PROXIES, P99, 1.25, true),
        goal(Row::Base, Cached, CACHES, P99, 1.25, true),
    ]
};

const fn goal(
    row: Row,
    path: TrafficPath,
    peers: &'static [Side],
    figure: Figure,
    limit: f64,
    may_contain_one: bool,
) -> Goal {
    Goal { row, path, peers, figure, limit, may_contain_one }
}

/// A goal and its ratio.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) what: String,
    pub(super) allowed: String,
    pub(super) ratio: Quartiles,
    pub(super) is_met: bool,
}

/// Returns the verdict of each goal that was measured.
pub(super) fn verdicts(ratios: &[Ratio]) -> Vec<Verdict> {
    GOALS.iter().flat_map(|goal| ratios.iter().filter_map(|ratio| goal.verdict(ratio))).collect()
}

impl Goal {
    fn verdict(&self, of: &Ratio) -> Option<Verdict> {
        if (of.row, of.path) != (self.row, self.path) || !self.peers.contains(&of.peer) {
            return None;
        }
        let (name, sign, ratio) = match self.figure {
            Figure::Requests => ("requests/s", "≥", of.requests),
            Figure::Cpu => ("CPU a request", "≤", of.cpu),
            Figure::P99 => ("p99", "≤", of.p99?),
        };
        let is_within = match self.figure {
            Figure::Requests => ratio.median >= self.limit,
            Figure::Cpu | Figure::P99 => ratio.median <= self.limit,
        };
        let contains_one = (ratio.lower..=ratio.upper).contains(&1.0);
        let or = if self.may_contain_one { ", or quartiles around 1" } else { "" };
        Some(Verdict {
            what: format!("{} {}, {}: {name}", of.path.name(), of.row.name(), of.peer.name()),
            allowed: format!("{sign} {:.2}{or}", self.limit),
            ratio,
            is_met: is_within || self.may_contain_one && contains_one,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_holds_by_its_median_or_by_an_interval_around_one() {
        let of = |values: [f64; 3]| Quartiles::of(values).unwrap();
        let ratio = |requests, cpu| Ratio {
            row: Row::Base,
            path: TrafficPath::Cached,
            peer: Side::Nginx,
            requests: of(requests),
            cpu: of(cpu),
            p99: None,
        };
        let met = |ratio| verdicts(&[ratio]).iter().map(|verdict| verdict.is_met).collect::<Vec<_>>();
        assert_eq!(met(ratio([0.8, 0.9, 1.2], [0.7, 0.8, 0.9])), [true, true]);
        assert_eq!(met(ratio([0.8, 0.9, 0.95], [0.7, 0.81, 1.3])), [false, false]);
        assert!(verdicts(&[Ratio { row: Row::SmallValue, ..ratio([1.0; 3], [1.0; 3]) }]).is_empty());
    }
}
