//! Signal `keys`: the reads of each shard by key, in sets of eight.
//!
//! Hook: `cgroup_skb`, through the request parser. Unit: reads. Cannot see: keys of writes, which stand in bodies. Minimum
//! kernel: 5.6 (global functions).

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

/// The loader makes it smaller: room for as many shards as there are.
#[btf_map]
static KEYS: Array<KeySet, { (MAX_SHARDS * SETS) as usize }> = Array::new();

/// For reads that are not to be counted now: the table has no such shard.
pub const NO_SHARD: u32 = u32::MAX;

/// Counts a read at a moment of the kernel's monotonic clock.
#[inline(always)]
pub fn count_read(shard: u32, now: u64, key: &KeyText) {
    // SAFETY: a reference is a pointer that is not null.
    unsafe { count_key(shard, (now >> EPOCH_SHIFT) as u32, key) };
}

/// A global function, as the kernel calls it: verified once and on its own, not again for each state of the parser.
///
/// # Safety
///
/// `key` is null or points to a key: the verifier holds callers to it.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn count_key(shard: u32, epoch: u32, key: *const KeyText) -> u64 {
    // SAFETY: the caller's promise.
    let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
    let Some(set) = KEYS.get_ptr_mut(set_of(shard, key.hash)) else { return 0 };
    // The lock would wait for its cache line, so all lines are prefetched before it.
    // SAFETY: words of the map's value; what they are does not matter.
    unsafe {
        let first = set.cast::<u64>().cast_const();
        first.add(1).read_volatile();
        for line in 1..size_of::<KeySet>() / 64 + 1 {
            first.add(line * 8).read_volatile();
        }
    }
    // SAFETY: the lock in the map's value.
    let lock = unsafe { &raw mut (*set).lock };
    // SAFETY: as above. Nothing is called before it is given back.
    unsafe { bpf_spin_lock(lock.cast()) };
    // SAFETY: the lock keeps other CPUs away.
    unsafe { &mut *set }.count(key, epoch);
    // SAFETY: it was taken above.
    unsafe { bpf_spin_unlock(lock.cast()) };
    1
}
