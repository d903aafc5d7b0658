//! The socket storage of the kernel programs.

use core::mem::offset_of;

use crate::{
    connections::Mark,
    http::Http,
    pending::Pending,
    protocol::{HEAD_BYTES, Protocol},
    responses::Responses,
    stream::Stream,
};

/// Value of the socket storage `SOCKETS`, freed with the socket. All zeros is a new value.
///
/// Its layout is the same for every protocol. Programs without a parser access it without a protocol: they read or write
/// nothing of the parsers, except that they restart a new one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket<P: Protocol = Http> {
    /// How the connection was counted.
    pub mark: Mark,
    /// The cached shard of the socket.
    pub owner: Owner,
    /// The parser of its requests.
    pub stream: Stream<P>,
    /// Its responses.
    pub responses: Responses,
    /// Requests that TCP has not accepted yet.
    pub pending: Pending,
    /// The parser of its responses.
    pub response_head: P::ResponseHead,
}

/// A cached shard number, which saves a lookup for every packet. All zeros is an empty cache.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner(u64);

impl Owner {
    /// Returns a cache of `shard`, valid while the endpoint table has seen this number of changes.
    #[must_use]
    #[inline(always)]
    pub const fn found(shard: u32, changes: u32) -> Self {
        Self((changes as u64) << 32 | (shard as u64 + 1))
    }

    /// Returns the cached shard, if the endpoint table has not changed since.
    #[must_use]
    #[inline(always)]
    pub const fn shard(self, changes: u32) -> Option<u32> {
        let number = self.0 as u32;
        if number == 0 || (self.0 >> 32) as u32 != changes { None } else { Some(number - 1) }
    }
}

/// Bytes that the kernel stores in the same cache line before the value.
const BEFORE: usize = 8;

/// Bytes of a cache line.
const LINE: usize = 64;

impl<P: Protocol> Socket<P> {
    /// Does not compile for a protocol that has another layout.
    pub const HAS_THE_LAYOUT: () = assert!(
        size_of::<P::Head>() == HEAD_BYTES
            && size_of::<P::ResponseHead>() == HEAD_BYTES
            && size_of::<Self>() == size_of::<Socket>()
            && align_of::<Self>() == align_of::<Socket>()
    );
}

// All fields that egress accesses are in the first cache line.
const _: () = assert!(BEFORE + offset_of!(Socket, stream) + offset_of!(Stream, answered) < LINE);
