//! Adds up by how much the counts of all probes grew.
//!
//! The sums begin at 0 and never fall. The first report of a probe adds nothing, because its earlier counts may be old.
//! Later reports add the growth since the previous one, also after a gap. A shard that moves to another known probe is
//! counted there from 0, and the last requests at the old one are added too. [`claims`] chooses between probes that count
//! the same packets.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use probe_common::connections::Connections;
use probe_common::latency::Latency;
use probe_common::requests::Requests;
use probe_common::traffic::Traffic;
use protocol::probe_api::NodeReport;

use self::claims::{Claim, Identity};
use self::keys::ListedKeys;
use self::sum::MergedShard;

mod claims;
mod growth;
mod keys;
pub(crate) mod sum;
#[cfg(test)]
mod tests;

/// How long the counts of a probe that does not answer are remembered. A later report adds nothing.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The sums, and the last report of each probe.
#[derive(Debug)]
pub(crate) struct Merged {
    shards: Vec<MergedShard>,
    probes: BTreeMap<Identity, Remembered>,
    round: u64,
}

/// One probe's last report.
#[derive(Debug, Default)]
struct Remembered {
    at: Duration,
    shards: BTreeMap<u32, Counted>,
}

/// One probe's counts of one shard in its last report.
#[derive(Debug, Default)]
struct Counted {
    /// The addresses that it watched last.
    addresses: Vec<String>,
    /// The last round in which its growth was added; 0 if another probe was added in its place.
    added_in: u64,
    /// Another probe has been added for the same packets since.
    is_covered: bool,
    /// Reads that it has contributed to the sum.
    added: u64,
    requests: Requests,
    traffic: Traffic,
    latency: Latency,
    round_trips: Latency,
    connections: Connections,
    keys: ListedKeys,
}

/// Who watches a shard in a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watchers {
    /// Positions of the reports that are added, those without a problem first.
    pub(crate) reports: Vec<usize>,
    /// Whether the growth of one of them is unknown.
    pub(crate) is_baseline: bool,
}

impl Merged {
    /// Sums of 0 for `shards` shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: vec![MergedShard::default(); shards], probes: BTreeMap::new(), round: 0 }
    }

    /// The sums of one shard.
    pub(crate) fn shard(&self, shard: u32) -> Option<&MergedShard> {
        self.shards.get(shard as usize)
    }

    /// Whether any probe has measured round-trip times.
    pub(crate) fn measures_round_trips(&self) -> bool {
        self.shards.iter().any(|shard| shard.round_trips.is_some())
    }

    /// Adds a round of reports at `now`, since any fixed start. Returns for each shard who watches it.
    pub(crate) fn observe(&mut self, now: Duration, reports: &[&NodeReport]) -> Vec<Watchers> {
        self.round += 1;
        let mut by_shard: BTreeMap<u32, Vec<Claim<'_>>> = BTreeMap::new();
        let mut seen = HashSet::new();
        for (at, report) in reports.iter().enumerate() {
            let identity = claims::identity(report);
            if seen.contains(&identity) {
                continue;
            }
            if let Some(known) = self.probes.get_mut(&identity) {
                // A probe reports a shard that it has counted, until another shard needs its slot in the kernel. If the
                // shard comes back, its counts begin at 0.
                let is_reported = |id: &u32| report.shards.iter().any(|shard| shard.shard_id == *id);
                known.shards.retain(|id, counted| counted.requests.arrived == 0 || is_reported(id));
            }
            let known = self.probes.get(&identity);
            for shard in &report.shards {
                let counted = known.and_then(|probe| probe.shards.get(&shard.shard_id));
                let is_known = known.is_some() && counted.is_none_or(|counted| !counted.is_covered);
                // Without the other counts they would have no baseline.
                if is_known || shard.details.is_some() {
                    let claim = Claim::new(at, &identity, shard, counted, is_known, self.round);
                    by_shard.entry(shard.shard_id).or_default().push(claim);
                }
            }
            seen.insert(identity);
        }
        let mut watchers = vec![Watchers::default(); self.shards.len()];
        for (shard, mut claims) in by_shard {
            if let Some(watchers) = watchers.get_mut(shard as usize) {
                claims::choose(&mut claims);
                *watchers = self.add(now, shard, &claims);
            }
        }
        for report in
            reports.iter().filter(|report| report.shards.iter().all(|shard| shard.details.is_some()))
        {
            self.probes.entry(claims::identity(report)).or_default().at = now;
        }
        self.probes.retain(|_, probe| now.saturating_sub(probe.at) <= REMEMBERED);
        watchers
    }

    /// Adds the chosen claims to one shard.
    fn add(&mut self, now: Duration, shard: u32, claims: &[Claim<'_>]) -> Watchers {
        let mut watchers = Watchers::default();
        let Some(sum) = self.shards.get_mut(shard as usize) else { return watchers };
        sum.begin_round(claims.iter().any(|claim| claim.shard.details.is_some()));
        for claim in claims {
            let probe = self.probes.entry(claim.identity.clone()).or_default();
            probe.at = now;
            let counted = probe.shards.entry(shard).or_default();
            sum.add(now, claim, counted);
            counted.is_covered = false;
            counted.added_in = if claim.is_added { self.round } else { 0 };
            if claim.is_watching() {
                counted.addresses.clone_from(&claim.shard.addresses);
                if claim.is_added {
                    watchers.reports.push(claim.report);
                    watchers.is_baseline |= !claim.is_known;
                }
            }
        }
        self.cover(shard, claims);
        watchers
    }

    /// Marks the counts of probes that are silent while another one is added for the same packets.
    fn cover(&mut self, shard: u32, claims: &[Claim<'_>]) {
        for claim in claims.iter().filter(|claim| claim.is_added && claim.is_watching()) {
            let (kernel, _) = &claim.identity;
            for (identity, probe) in self.probes.range_mut((kernel.clone(), 0)..=(kernel.clone(), u64::MAX)) {
                if claims.iter().any(|claim| claim.identity == *identity) {
                    continue;
                }
                if let Some(silent) = probe.shards.get_mut(&shard) {
                    silent.is_covered |= claims::overlap(&silent.addresses, &claim.shard.addresses);
                }
            }
        }
    }
}
