//! What the kernel programs keep in a socket of a shard.

use core::mem::offset_of;

use crate::{connections::Mark, stream::Stream};

/// Value of the socket storage `SOCKETS`: it goes when the socket goes. All zeros is a new one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// As which connection it was counted.
    pub mark: Mark,
    /// Its parser.
    pub stream: Stream,
}

/// What the kernel has before the value, in the line that the value begins in.
const BEFORE: usize = 8;

/// Bytes of a line.
const LINE: usize = 64;

// All that egress touches is in the first line.
const _: () = assert!(BEFORE + offset_of!(Socket, stream) + offset_of!(Stream, bucket) < LINE);
