//! HTTP/1.x, the protocol of the lab's shards.
//!
//! A request is a head, with a body that is skipped by its length. [`head`] parses heads. [`fast_path`] recognises a
//! repeated request without parsing.

mod cached_bytes;
mod cached_response;
mod fast_path;
mod first_bytes;
pub mod head;

pub use first_bytes::FirstBytes;

use crate::{protocol::Protocol, segment, stream};
use cached_bytes::CachedBytes;
use head::{Head, ResponseHead};

/// HTTP/1.x.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http;

/// A connection's requests.
pub type Stream = stream::Stream<Http>;

/// A place in one segment.
pub type SegmentReader = segment::SegmentReader<Http>;

impl Protocol for Http {
    type Head = Head;
    type ResponseHead = ResponseHead;
    type Cache = CachedBytes;
    const EMPTY_CACHE: CachedBytes = CachedBytes::EMPTY;
}

/// Whether payload that begins with these four bytes (lowest first) begins a request.
#[must_use]
#[inline(always)]
pub const fn begins_request(bytes: u32) -> bool {
    const fn is(bytes: u32, method: [u8; 4]) -> bool {
        bytes == u32::from_le_bytes(method)
    }
    is(bytes, *b"GET ")
        || is(bytes, *b"POST")
        || is(bytes, *b"HEAD")
        || is(bytes, *b"PUT ")
        || is(bytes, *b"DELE")
        || is(bytes, *b"OPTI")
        || is(bytes, *b"PATC")
}
