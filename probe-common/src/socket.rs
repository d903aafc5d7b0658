//! The socket storage of the kernel programs.

use core::mem::offset_of;

use crate::{
    connections::Mark,
    http::Http,
    pending::{Pending, Waiting},
    protocol::{HEAD_BYTES, Protocol},
    resp::Pairing,
    responses::Responses,
    stream::Stream,
};

/// Value of the socket storage `SOCKETS`, freed with the socket. All zeros is a new value.
///
/// On loopback, one CPU handles the requests and another one the responses. The first cache line is rarely written. The
/// second has all fields that both CPUs write, except for keys and queued segments.
///
/// Its layout is the same for every protocol. Programs without a parser access it without a protocol: they read or
/// write nothing of the parsers, except that they restart a new one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket<P: Protocol = Http> {
    /// How the connection was counted.
    pub mark: Mark,
    /// The cached shard of the socket.
    pub owner: Owner,
    /// Cookie of its network namespace, if `sock_ops` has seen it open. Needed where packets do not have it.
    pub namespace: u64,
    padding: [u64; 2],
    /// Requests that TCP has not accepted yet.
    pub pending: Pending,
    /// Its requests, and their parser.
    pub stream: Stream<P>,
    /// The data of [`Self::pending`].
    pub waiting: Waiting,
    /// Its responses.
    pub responses: Responses,
    /// The parser of its responses.
    pub response_head: P::ResponseHead,
    /// Which response is for which request, of a protocol that pairs them.
    pub pairing: Pairing,
}

/// A cached shard number, which saves a lookup for every packet. All zeros is an empty cache.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner(u64);

impl Owner {
    /// Returns a cache of `shard`. It is valid while the endpoint table has this number of changes.
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

const _: () = assert!(BEFORE + offset_of!(Socket, pending) == LINE);
const _: () =
    assert!(BEFORE + offset_of!(Socket, stream) + offset_of!(Stream<Http>, arrived) + 8 == 2 * LINE);
