//! Signal `requests`: the counters of each shard.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use probe_common::{
    MAX_SHARDS,
    head::Tally,
    requests::{Reason, Requests},
};

#[map]
static REQUESTS: PerCpuArray<Requests> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// A shard's counters on this CPU. Only softirq uses them, and softirq is never nested.
#[inline(always)]
pub fn counters(shard: u32) -> Option<&'static mut Requests> {
    // SAFETY: the map's value for this CPU, with no other user on this CPU.
    REQUESTS.get_ptr_mut(shard).map(|requests| unsafe { &mut *requests })
}

/// Adds one segment's requests.
#[inline(always)]
pub fn add_requests(requests: &mut Requests, tally: Tally) {
    requests.get += u64::from(tally.get);
    requests.set += u64::from(tally.set);
    requests.control += u64::from(tally.control);
}

/// Counts a segment with bytes that were not parsed.
#[inline(always)]
pub fn add_unparsed(requests: &mut Requests, reason: Reason) {
    // Without `black_box` the compiler knows the bound and removes the check that the verifier needs.
    if let Some(counter) = requests.unparsed.get_mut(core::hint::black_box(reason as usize)) {
        *counter += 1;
    }
}
