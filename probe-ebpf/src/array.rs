//! Values of arrays, asked for by whole words.

use core::ptr::NonNull;

use aya_ebpf::{
    btf_maps,
    helpers::bpf_map_lookup_elem,
    maps::{Array, PerCpuArray},
};

/// A map whose values are of type `T`, and whose keys are numbers of 32 bits.
///
/// # Safety
///
/// It is one: [`value`] hands out pointers to `T` on that word.
pub unsafe trait OfNumbers<T> {}

// SAFETY: what these types are.
unsafe impl<T> OfNumbers<T> for Array<T> {}
// SAFETY: the same.
unsafe impl<T> OfNumbers<T> for PerCpuArray<T> {}
// SAFETY: the same.
unsafe impl<T, const ENTRIES: usize> OfNumbers<T> for btf_maps::Array<T, ENTRIES> {}

/// The value at `index`: this CPU's, where each has its own. aya's own functions put 32 bits on the stack, which the verifier
/// of 6.1 refuses to processes without CAP_PERFMON where 64 have been.
#[inline(always)]
pub fn value<T>(map: &impl OfNumbers<T>, index: u32) -> Option<*mut T> {
    // The kernel reads the lower half, which comes first on the only target there is (bpfel).
    let index = u64::from(index);
    // SAFETY: a map with keys of 32 bits, and a key.
    let value =
        unsafe { bpf_map_lookup_elem(core::ptr::from_ref(map).cast_mut().cast(), (&raw const index).cast()) };
    NonNull::new(value).map(|value| value.as_ptr().cast())
}
