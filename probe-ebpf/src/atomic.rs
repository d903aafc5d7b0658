//! The atomic operations the kernel's instruction set has and the target's `core::sync::atomic` lacks.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd, atomic_xchg};

/// Adds to a counter that another program on this CPU may be adding to. Minimum kernel: any.
///
/// # Safety
///
/// `counter` points to a live, aligned `u64` of a map's value.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, amount: u64) {
    // SAFETY: the caller's promise. The result is not used, which keeps it the old, fetch-less instruction.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount) };
}

/// Puts `value` into a cell and returns what was there. Minimum kernel: 5.12.
///
/// # Safety
///
/// `cell` points to a live, aligned `u64` of a map's value.
#[inline(always)]
pub unsafe fn exchange(cell: *mut u64, value: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { atomic_xchg::<u64, { AtomicOrdering::SeqCst }>(cell, value) }
}

/// Puts `new` into a cell if `old` is there, and returns whether it was. Minimum kernel: 5.12.
///
/// # Safety
///
/// `cell` points to a live, aligned `u64` of a map's value.
#[inline(always)]
pub unsafe fn replace(cell: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(cell, old, new).1 }
}
