//! Signal `requests`: the counters of each shard.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use probe_common::{
    MAX_SHARDS,
    requests::{Reason, Requests},
};

use crate::atomic;

#[map]
static REQUESTS: PerCpuArray<Requests> = PerCpuArray::with_max_entries(MAX_SHARDS, 0);

/// Returns a shard's counters on this CPU. Only for softirq, which is never nested.
#[inline(always)]
pub fn counters(shard: u32) -> Option<&'static mut Requests> {
    // SAFETY: the map's value for this CPU. Programs that interrupt this one, or that it interrupts, add atomically.
    pointer(shard).map(|requests| unsafe { &mut *requests })
}

/// Returns a shard's counters on this CPU for any context. The caller must add atomically.
#[inline(always)]
pub fn pointer(shard: u32) -> Option<*mut Requests> {
    REQUESTS.get_ptr_mut(shard)
}

/// Counts a segment with unparsed bytes, in softirq.
#[inline(always)]
pub fn add_unparsed(requests: &mut Requests, reason: Reason) {
    // SAFETY: counters of the map's value for this CPU.
    unsafe { add_unparsed_shared(requests, reason) };
}

/// Counts a segment with unparsed bytes, in any context.
///
/// # Safety
///
/// `requests` is the map's value for this CPU.
#[inline(always)]
pub unsafe fn add_unparsed_shared(requests: *mut Requests, reason: Reason) {
    // SAFETY: the caller guarantees it.
    let unparsed = unsafe { &mut (*requests).unparsed };
    // Without `black_box` the compiler infers the bound and removes the check that the verifier needs.
    if let Some(counter) = unparsed.get_mut(core::hint::black_box(reason as usize)) {
        // SAFETY: a counter of the map's value for this CPU.
        unsafe { atomic::add(counter, 1) };
    }
}
