//! What a protocol must provide to the kernel programs.
//!
//! The programs of each protocol are compiled from the same frame ([`requests`](crate::requests),
//! [`parser`](crate::parser)). The probe loads those of one protocol.

use aya_ebpf::{bindings::__sk_buff, programs::SkBuffContext};
use probe_common::{protocol::Protocol, segment::SegmentReader, socket::Socket};

use crate::packet::Packet;

/// A protocol with kernel programs.
pub trait Program: Protocol {
    /// Returns the place for segments to a shard on this CPU. Only for ingress.
    fn reader(shard: u32) -> Option<*mut SegmentReader<Self>>;

    /// Whether a packet's payload begins a request.
    fn begins_request(context: &SkBuffContext, packet: &Packet) -> bool;

    /// Does what the parser needs the driver for. Stages keys, unless the reader's shard is
    /// [`NO_SHARD`](crate::keys::NO_SHARD).
    fn attend(reader: &mut SegmentReader<Self>, head: &mut Self::Head);

    /// Whether the window is to be loaded for [`Self::try_fast_path`].
    fn may_take_fast_path(reader: &SegmentReader<Self>, head: &Self::Head) -> bool;

    /// Reads the whole segment on the fast path, or returns `false`. Then the segment's key is in the reader.
    fn try_fast_path(reader: &mut SegmentReader<Self>) -> bool;

    /// Fills the fast path's cache after a segment that was parsed step by step.
    fn fill_cache(reader: &mut SegmentReader<Self>, head: &Self::Head);

    /// Calls [`parser::parse_payload`](crate::parser::parse_payload) through the protocol's global function. A global
    /// function cannot be generic.
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn parse_payload(
        context: *mut __sk_buff,
        reader: *mut SegmentReader<Self>,
        head: *mut Self::Head,
        payload_at: u32,
    ) -> u64;

    /// Calls [`requests::catch_up`](crate::requests::catch_up) in the same way.
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn catch_up(socket: *mut Socket<Self>, shard: u32, sequence: u32, length: u32, accepted: u64);

    /// Follows a segment with payload from a shard.
    fn follow_responses(context: &SkBuffContext, socket: *mut Socket<Self>, shard: u32, packet: &Packet);
}
