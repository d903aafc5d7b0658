//! Chooses between probes that report the same shard.
//!
//! Two probes count the same packets if they have the same kernel and watch the same address. Only one of them is added.
//! Others have packets of their own: a shard moves from node to node, and both report it for a moment.

use std::cmp::Reverse;

use protocol::probe_api::{NodeReport, NodeShard};

use super::Counted;

/// Identifies a probe's counts: the boot id of its kernel, and the bits of when counting began.
pub(super) type Identity = (String, u64);

pub(super) fn identity(report: &NodeReport) -> Identity {
    (report.kernel.clone(), report.counting_since.to_bits())
}

/// One probe's report of one shard.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    /// The report's position.
    pub(super) report: usize,
    pub(super) identity: Identity,
    pub(super) shard: &'a NodeShard,
    /// Whether the previous counts are known. They are 0 for a shard that a known probe did not report before.
    pub(super) is_known: bool,
    /// Whether its growth is added. Set by [`choose`].
    pub(super) is_added: bool,
    was_added: bool,
    /// The watched addresses, or those watched last.
    addresses: Vec<String>,
}

impl<'a> Claim<'a> {
    pub(super) fn new(
        report: usize,
        identity: &Identity,
        shard: &'a NodeShard,
        counted: Option<&Counted>,
        is_known: bool,
        round: u64,
    ) -> Self {
        let addresses = if shard.addresses.is_empty() {
            counted.map(|counted| counted.addresses.clone()).unwrap_or_default()
        } else {
            shard.addresses.clone()
        };
        let was_added = counted.is_some_and(|counted| counted.added_in + 1 == round);
        Self { report, identity: identity.clone(), shard, is_known, is_added: false, was_added, addresses }
    }

    /// Whether the probe watches the shard now.
    pub(super) fn is_watching(&self) -> bool {
        !self.shard.addresses.is_empty()
    }
}

/// Decides which claims are added. Those that watch the shard without a problem come first, and of them those that were
/// added in the round before.
pub(super) fn choose(claims: &mut [Claim<'_>]) {
    claims.sort_by_cached_key(|claim| {
        let is_well = claim.is_watching() && claim.shard.problem.is_none();
        (Reverse((is_well, claim.is_watching(), claim.was_added)), claim.identity.clone())
    });
    for at in 0..claims.len() {
        let (before, rest) = claims.split_at_mut(at);
        let Some(claim) = rest.first_mut() else { return };
        let same = |other: &Claim<'_>| {
            other.identity.0 == claim.identity.0 && overlap(&other.addresses, &claim.addresses)
        };
        claim.is_added = !before.iter().any(|other| other.is_added && same(other));
    }
}

pub(super) fn overlap(one: &[String], other: &[String]) -> bool {
    one.iter().any(|address| other.contains(address))
}
