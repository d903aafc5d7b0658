//! Reads or clears many entries of an array map with one system call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use aya::Pod;

use super::bpf::bpf;

/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd`.
const LOOKUP_BATCH: libc::c_long = 24;

/// `BPF_MAP_UPDATE_BATCH` of `enum bpf_cmd`.
const UPDATE_BATCH: libc::c_long = 26;

/// `BPF_F_LOCK`: each entry is copied with its lock held.
const WITH_LOCK: u64 = 4;

/// The member `batch` of `union bpf_attr`.
#[repr(C)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    elem_flags: u64,
    flags: u64,
}

/// A buffer for entries of one type, reused by every read.
pub(crate) struct Batch<T> {
    values: Vec<T>,
    keys: Vec<u32>,
}

impl<T: Pod + Default> Batch<T> {
    /// Allocates room for `entries` entries.
    pub(crate) fn new(entries: u32) -> Self {
        Self { values: vec![T::default(); entries as usize], keys: vec![0; entries as usize] }
    }

    /// Fills the buffer with entries from index `first` on. `map` must be an array whose values are `T`s with a lock.
    pub(crate) fn read_locked(&mut self, map: BorrowedFd<'_>, first: u32) -> io::Result<&[T]> {
        let count = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        // The kernel starts after this index.
        let before = first.wrapping_sub(1);
        let mut last = 0_u32;
        let mut attributes = Attributes {
            in_batch: if first == 0 { 0 } else { address(&raw const before) },
            out_batch: address(&raw mut last),
            keys: address(self.keys.as_mut_ptr()),
            values: address(self.values.as_mut_ptr()),
            count,
            map: u32::try_from(map.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?,
            elem_flags: WITH_LOCK,
            flags: 0,
        };
        match bpf(LOOKUP_BATCH, &mut attributes) {
            // ENOENT marks the map's end. The kernel has filled in the entries before it.
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
        if attributes.count != count {
            return Err(io::Error::other(format!("{} of {count} entries", attributes.count)));
        }
        Ok(&self.values)
    }

    /// Sets as many entries as the buffer has room for to zero, from index `first` on. The same holds for `map`.
    pub(crate) fn clear_locked(&mut self, map: BorrowedFd<'_>, first: u32) -> io::Result<()> {
        self.values.fill(T::default());
        for (key, index) in self.keys.iter_mut().zip(first..) {
            *key = index;
        }
        let count = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let mut attributes = Attributes {
            in_batch: 0,
            out_batch: 0,
            keys: address(self.keys.as_ptr()),
            values: address(self.values.as_ptr()),
            count,
            map: u32::try_from(map.as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?,
            elem_flags: WITH_LOCK,
            flags: 0,
        };
        bpf(UPDATE_BATCH, &mut attributes)?;
        if attributes.count == count {
            Ok(())
        } else {
            Err(io::Error::other(format!("{} of {count} entries", attributes.count)))
        }
    }
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.addr() as u64
}
