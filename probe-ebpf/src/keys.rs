//! Signal `keys`: reads of each shard by key, in sets of eight.
//!
//! - Hook: `cgroup_skb`, through the request parser.
//! - Unit: reads.
//! - Not seen: keys of writes, which are in bodies.
//! - Minimum kernel: 5.6 (global functions).

use aya_ebpf::{
    btf_maps::Array,
    helpers::generated::{bpf_spin_lock, bpf_spin_unlock},
    macros::btf_map,
};
use probe_common::{
    MAX_SHARDS,
    key::KeyText,
    keys::{EPOCH_SHIFT, KeySet, SETS, set_of},
};

/// The loader reduces its size to the number of shards.
#[btf_map]
static KEYS: Array<KeySet, { (MAX_SHARDS * SETS) as usize }> = Array::new();

/// Passed for reads that are not to be counted yet. The table has no such shard.
pub const NO_SHARD: u32 = u32::MAX;

/// Counts a read. `now` is the kernel's monotonic clock in nanoseconds.
#[inline(always)]
pub fn count_read(shard: u32, now: u64, key: &KeyText) {
    // SAFETY: a reference is a valid pointer.
    unsafe { count_key(shard, (now >> EPOCH_SHIFT) as u32, key) };
}

/// Counts a read of a key in an epoch.
///
/// This is a global function in the kernel's terms: it is verified once and separately, instead of for each state of
/// the parser.
///
/// # Safety
///
/// `key` is null or points to a key. The verifier checks this for all callers.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn count_key(shard: u32, epoch: u32, key: *const KeyText) -> u64 {
    // SAFETY: the caller guarantees it.
    let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
    let Some(set) = KEYS.get_ptr_mut(set_of(shard, key.hash)) else { return 0 };
    // Prefetch all cache lines before the lock is taken, so that no cache miss happens while it is held.
    // SAFETY: words of the map's value. The values read are not used.
    unsafe {
        let first = set.cast::<u64>().cast_const();
        first.add(1).read_volatile();
        for line in 1..size_of::<KeySet>() / 64 + 1 {
            first.add(line * 8).read_volatile();
        }
    }
    // SAFETY: the lock in the map's value.
    let lock = unsafe { &raw mut (*set).lock };
    // SAFETY: as above. No function is called while the lock is held.
    unsafe { bpf_spin_lock(lock.cast()) };
    // SAFETY: the lock excludes other CPUs.
    unsafe { &mut *set }.count(key, epoch);
    // SAFETY: the lock was taken above.
    unsafe { bpf_spin_unlock(lock.cast()) };
    1
}
