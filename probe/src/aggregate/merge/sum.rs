//! Holds the sums of one shard.

use std::time::Duration;

use probe_common::connections::Connections;
use probe_common::latency::Latency;
use probe_common::requests::Requests;
use probe_common::traffic::Traffic;
use protocol::probe_api::NodeDetails;

use super::Counted;
use super::claims::Claim;
use super::growth::Growth as _;
use super::keys::{ListedKeys, MergedKeys};
use crate::node::form;

/// The sums of one shard, and what its probes report of this moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct MergedShard {
    requests: Requests,
    pub(crate) traffic: Traffic,
    pub(crate) latency: Latency,
    /// `None` if no probe has measured them.
    pub(crate) round_trips: Option<Latency>,
    /// `None` if no probe has counted them.
    pub(crate) connections: Option<Connections>,
    pub(crate) keys: MergedKeys,
    now: Now,
}

/// What only the probes that watch the shard now can tell: it is no sum over time.
#[derive(Clone, Copy, Debug, Default)]
struct Now {
    undecided: u64,
    unsettled: u64,
    open: u64,
    preexisting_open: u64,
}

impl MergedShard {
    /// The requests. Undecided and unsettled ones are those of the probes that watch the shard now.
    pub(crate) fn requests(&self) -> Requests {
        let sums = self.requests;
        let decided = sums.get.wrapping_add(sums.set).wrapping_add(sums.dropped);
        Requests {
            arrived: decided.wrapping_add(self.now.undecided),
            aborted_settled: sums.aborted.saturating_sub(self.now.unsettled),
            ..sums
        }
    }

    /// Open connections: new ones, and ones older than their probe.
    pub(crate) fn open(&self) -> (u64, u64) {
        (self.now.open, self.now.preexisting_open)
    }

    /// Begins a round of reports, `whole` ones or of requests only.
    pub(super) fn begin_round(&mut self, whole: bool) {
        self.now = if whole { Now::default() } else { Now { undecided: 0, unsettled: 0, ..self.now } };
    }

    /// Takes over one probe's report. `before` is its previous report of this shard.
    pub(super) fn add(&mut self, now: Duration, claim: &Claim<'_>, before: &mut Counted) {
        let requests = form::requests_from(&claim.shard.requests);
        if claim.is_added {
            if claim.is_known {
                let grown = requests.since(&before.requests);
                self.requests += &grown;
                before.added = before.added.wrapping_add(grown.get);
            }
            add(&mut self.now.undecided, requests.undecided());
            add(&mut self.now.unsettled, requests.unsettled());
        }
        before.requests = requests;
        if let Some(details) = &claim.shard.details {
            self.add_details(now, claim, details, before);
        }
    }

    fn add_details(&mut self, now: Duration, claim: &Claim<'_>, details: &NodeDetails, before: &mut Counted) {
        let traffic = form::traffic_from([details.payload_bytes, details.ip_bytes, details.packets]);
        let latency = form::latency_from(&details.latency);
        let connections = details.connections.as_ref().map(form::connections_from);
        let round_trips = details.rtt.as_ref().map(form::latency_from);
        if claim.is_added {
            let sums =
                (connections.map(|_| self.connections.get_or_insert_default())).zip(connections.as_ref());
            if let Some((sum, counted)) = sums {
                if claim.is_known {
                    *sum += &counted.since(&before.connections);
                }
                add(&mut self.now.open, counted.open());
                add(&mut self.now.preexisting_open, counted.preexisting_open());
            }
            if let Some(counted) = &round_trips {
                let sum = self.round_trips.get_or_insert_default();
                if claim.is_known {
                    *sum += &counted.since(&before.round_trips);
                }
            }
            if claim.is_known {
                self.traffic += &traffic.since(&before.traffic);
                self.latency += &latency.since(&before.latency);
            }
        }
        let reads = self.requests.get;
        self.keys.listed(&details.keys);
        if !claim.is_known {
            before.keys = ListedKeys::begin(now, &details.keys);
            if claim.is_added {
                self.keys.begin(now, &details.keys, reads);
            }
        } else {
            let growths = before.keys.take(now, &details.keys);
            if claim.is_added {
                self.keys.add(now, growths, reads, reads.saturating_sub(before.added));
            }
        }
        (before.traffic, before.latency) = (traffic, latency);
        before.connections = connections.unwrap_or_default();
        before.round_trips = round_trips.unwrap_or_default();
    }
}

/// Adds a figure of this moment. A faulty report may have any.
const fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}
