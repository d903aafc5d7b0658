//! Calls `bpf(2)` for commands that aya does not support.

use std::ffi::c_long;
use std::io::Error;

/// Calls the kernel with the `bpf_attr` of this command.
#[expect(unsafe_code, reason = "aya has no call for these commands, and the C library none for bpf(2)")]
pub(super) fn bpf<T>(command: c_long, attributes: &mut T) -> Result<c_long, Error> {
    // SAFETY: every caller passes a `repr(C)` structure of integers, exclusively borrowed, with its size. The kernel
    // may write to it. Addresses in it point to memory of the length that the structure states. It outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}
