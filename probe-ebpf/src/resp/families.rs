//! Signal `latency` of a store, by shard and family of commands.
//!
//! Unit: nanoseconds, by bucket. A shard's latency is the sum of its families.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use probe_common::{
    MAX_SHARDS,
    latency::Latency,
    resp::{
        FAMILIES,
        pairing::{family_of, took},
    },
};

use crate::latency;

/// The families of shard 0, then those of shard 1, and so on. User space sets the size.
#[map]
static FAMILY_LATENCY: PerCpuArray<Latency> = PerCpuArray::with_max_entries(MAX_SHARDS * FAMILIES as u32, 0);

/// Counts so many commands of one family that came at the same time, as [`timed_from`] describes them. A global function,
/// which is verified once and separately.
///
/// [`timed_from`]: probe_common::resp::pairing::Asked::timed_from
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn count_family(shard: u32, from: u64, now: u64, times: u64) -> u64 {
    let place = shard.wrapping_mul(FAMILIES as u32).wrapping_add(family_of(from));
    if let Some(latency) = FAMILY_LATENCY.get_ptr_mut(place) {
        // SAFETY: the map's value for this CPU.
        unsafe { latency::count_several(latency, took(from, now), times) };
    }
    0
}
