//! The socket storage of the kernel programs.

use core::mem::offset_of;

use crate::{connections::Mark, pending::Pending, responses::Responses, stream::Stream};

/// Value of the socket storage `SOCKETS`: it goes when the socket goes. All zeros is a new one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// As which connection it was counted.
    pub mark: Mark,
    /// Whose it is.
    pub owner: Owner,
    /// Its parser.
    pub stream: Stream,
    /// Its answers.
    pub responses: Responses,
    /// Its requests that TCP has not accepted yet.
    pub pending: Pending,
}

/// A shard's number as it was found once, so that it is not looked for with every packet. All zeros is not known.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner(u64);

impl Owner {
    /// What was found after so many changes of the endpoints.
    #[must_use]
    #[inline(always)]
    pub const fn found(shard: u32, changes: u32) -> Self {
        Self((changes as u64) << 32 | (shard as u64 + 1))
    }

    /// The shard, if it is known and the endpoints have not changed since.
    #[must_use]
    #[inline(always)]
    pub const fn shard(self, changes: u32) -> Option<u32> {
        let number = self.0 as u32;
        if number == 0 || (self.0 >> 32) as u32 != changes { None } else { Some(number - 1) }
    }
}

/// What the kernel has before the value, in the line that the value begins in.
const BEFORE: usize = 8;

/// Bytes of a line.
const LINE: usize = 64;

// All that egress touches is in the first line.
const _: () = assert!(BEFORE + offset_of!(Socket, stream) + offset_of!(Stream, answered) < LINE);
