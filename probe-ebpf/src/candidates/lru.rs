//! Candidate: an LRU hash map from key to count.

use aya_ebpf::{bindings::BPF_ANY, btf_maps::LruHashMap, macros::btf_map};
use probe_common::key::{KEY_WORDS, KeyText};

/// As many as fit in the memory of the probe's table, the kernel's own fields included.
const ENTRIES: usize = 5_600;

#[btf_map]
static LRU: LruHashMap<[u64; KEY_WORDS], u64, ENTRIES> = LruHashMap::new();

/// Counts a read.
#[inline(always)]
pub fn read(key: &KeyText) {
    // SAFETY: a reference is a pointer that is not null.
    unsafe { count_recent(key) };
}

/// A global function, as the probe's `count_key` is.
///
/// # Safety
///
/// `key` is null or points to a key.
#[unsafe(no_mangle)]
#[inline(never)]
pub unsafe extern "C" fn count_recent(key: *const KeyText) -> u64 {
    // SAFETY: the caller's promise.
    let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
    let words = &key.words;
    match LRU.get_ptr_mut(words) {
        // SAFETY: the entry of this key or, since a moment, of another; one CPU counts here.
        Some(count) => unsafe { *count += 1 },
        None => {
            // Refused only when all entries are in other CPUs' hands: then the read is lost.
            let _ = LRU.insert(words, 1, BPF_ANY as u64);
        }
    }
    1
}
