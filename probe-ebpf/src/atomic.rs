//! Atomic operations that the target's `core::sync::atomic` lacks.
//!
//! The kernel's instruction set has them.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xchg};

/// Adds to a counter. Another program on this CPU may add to it at the same time. Minimum kernel: any.
///
/// # Safety
///
/// `counter` points to a live, aligned `u64` of a map's value.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, amount: u64) {
    // SAFETY: the caller guarantees a valid pointer.
    // The unused result keeps this the old instruction without fetch, which every kernel has.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount) };
}

/// Stores `value` in a cell and returns the previous value. Minimum kernel: 5.12.
///
/// # Safety
///
/// `cell` points to a live, aligned `u64` of a map's value.
#[inline(always)]
pub unsafe fn exchange(cell: *mut u64, value: u64) -> u64 {
    // SAFETY: the caller guarantees a valid pointer.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(cell, value) }
}

/// Stores `new` in a cell if it holds `old`, and returns whether it did. Minimum kernel: 5.12.
///
/// # Safety
///
/// `cell` points to a live, aligned `u64` of a map's value.
#[inline(always)]
pub unsafe fn replace(cell: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller guarantees a valid pointer.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(cell, old, new).1 }
}
