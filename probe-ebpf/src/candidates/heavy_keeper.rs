//! Candidate: HeavyKeeper (Gong, Yang, Zhang et al., USENIX ATC 2018), with a table of the keys it holds for hottest.
//!
//! Two rows of buckets, each a fingerprint and a count. A key that meets another's fingerprint takes one off the count
//! with a chance that falls with the count, and takes the bucket over at 0. The paper keeps the keys in a heap, which
//! the verifier would not follow: here they stand in sets of eight, where the largest counts stay. A fingerprint has 32
//! bits, so the paper's care for two keys with one is left out.

use aya_ebpf::{
    btf_maps::Array,
    helpers::generated::{bpf_get_prandom_u32, bpf_spin_lock, bpf_spin_unlock},
    macros::btf_map,
};
use probe_common::key::{KEY_WORDS, KeyText};

const ROWS: u32 = 2;

/// Buckets of a row: with the table of keys as much memory as the probe's table.
const BUCKETS: u32 = 40_000;

/// Sets of keys.
const SETS: u32 = 256;

const WAYS: usize = 8;

/// Chances to lose one, of 2^32, by count: 1.08 to the power of minus the count, as in the paper.
static CHANCES: [u32; 256] = chances();

const fn chances() -> [u32; 256] {
    let mut chances = [0; 256];
    let mut chance = u32::MAX as u64;
    let mut count = 0;
    while count < chances.len() {
        chances[count] = chance as u32;
        chance = chance * 100 / 108;
        count += 1;
    }
    chances
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bucket {
    fingerprint: u32,
    count: u32,
}

/// A key that is held for hot.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hot {
    words: [u64; KEY_WORDS],
    hash: u64,
    count: u32,
    length: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct HotSet {
    lock: probe_common::keys::bpf_spin_lock,
    padding: u32,
    keys: [Hot; WAYS],
}

#[btf_map]
static HEAVY: Array<Bucket, { (ROWS * BUCKETS) as usize }> = Array::new();

#[btf_map]
static HOT: Array<HotSet, { SETS as usize }> = Array::new();

/// Counts a read.
#[inline(always)]
pub fn read(key: &KeyText) {
    // SAFETY: a reference is a pointer that is not null.
    unsafe { count_heavy_key(key) };
}

/// A global function, as the probe's `count_key` is.
///
/// # Safety
///
/// `key` is null or points to a key.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn count_heavy_key(key: *const KeyText) -> u64 {
    // SAFETY: the caller's promise.
    let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
    let (one, other) = (key.hash, key.hash.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let count = in_row(0, one, key.hash as u32).max(in_row(1, other, key.hash as u32));
    if count == 0 {
        return 0;
    }
    let Some(set) = HOT.get_ptr_mut((other >> 8) as u32 % SETS) else { return 0 };
    // SAFETY: the lock in the map's value.
    let lock = unsafe { &raw mut (*set).lock };
    // SAFETY: as above. Nothing is called before it is given back.
    unsafe { bpf_spin_lock(lock.cast()) };
    // SAFETY: the lock keeps other CPUs away.
    unsafe { &mut *set }.keep(key, count);
    // SAFETY: it was taken above.
    unsafe { bpf_spin_unlock(lock.cast()) };
    1
}

/// Counts in one row, at the place that the upper half of `hash` says; gives the key's count there, 0 if another has it.
#[inline(always)]
fn in_row(row: u32, hash: u64, fingerprint: u32) -> u32 {
    let place = ((hash >> 32) * BUCKETS as u64) >> 32;
    let Some(bucket) = HEAVY.get_ptr_mut(row * BUCKETS + place as u32) else { return 0 };
    // SAFETY: a live value of the map. Two CPUs at one bucket may lose a count, as the paper's decay does.
    let bucket = unsafe { &mut *bucket };
    if bucket.count != 0 && bucket.fingerprint != fingerprint {
        let chance = if bucket.count < 256 { CHANCES[bucket.count as usize & 255] } else { 0 };
        // SAFETY: the helper takes nothing.
        if unsafe { bpf_get_prandom_u32() } >= chance {
            return 0;
        }
        bucket.count -= 1;
        if bucket.count != 0 {
            return 0;
        }
    }
    bucket.fingerprint = fingerprint;
    bucket.count += 1;
    bucket.count
}

impl HotSet {
    /// Notes the key's count; a new key takes the place of the smallest if its own is larger.
    #[inline(always)]
    fn keep(&mut self, key: &KeyText, count: u32) {
        // So that the way to a key does not begin at the lock.
        let keys = core::hint::black_box(&mut self.keys);
        let mut at = 0;
        while at < WAYS {
            let hot = &mut keys[at];
            if hot.hash == key.hash && hot.length == key.length {
                if hot.count < count {
                    hot.count = count;
                }
                return;
            }
            at += 1;
        }
        let (mut least, mut place) = (u32::MAX, 0);
        at = 0;
        while at < WAYS {
            if keys[at].count < least {
                (least, place) = (keys[at].count, at);
            }
            at += 1;
        }
        if least < count {
            let hot = &mut keys[place & (WAYS - 1)];
            hot.words = key.words;
            hot.hash = key.hash;
            hot.count = count;
            hot.length = key.length;
        }
    }
}
