//! Socket options that the standard library and socket2 lack.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sets an option to `value`, in the kernel's memory format.
pub(crate) fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).unwrap_or_default();
    // SAFETY: the kernel reads `length` bytes from `value`.
    #[expect(unsafe_code, reason = "setsockopt takes a pointer")]
    let outcome = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an option of at most `LENGTH` bytes. Bytes that the kernel does not write are 0.
pub(crate) fn get<const LENGTH: usize>(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
) -> io::Result<[u8; LENGTH]> {
    let mut value = [0; LENGTH];
    let mut length = libc::socklen_t::try_from(LENGTH).unwrap_or_default();
    // SAFETY: the kernel writes at most `length` bytes to `value`, and their number to `length`.
    #[expect(unsafe_code, reason = "getsockopt takes pointers")]
    let outcome = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut length)
    };
    if outcome == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
