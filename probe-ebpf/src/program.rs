//! What a protocol must provide to the kernel programs.
//!
//! The programs of each protocol are compiled from the same frame ([`requests`](crate::requests),
//! [`parser`](crate::parser)). The probe loads those of one protocol.

use aya_ebpf::{bindings::__sk_buff, programs::SkBuffContext};
use probe_common::{protocol::Protocol, resp::Pairing, segment::SegmentReader, socket::Socket};

use crate::packet::Packet;

/// A protocol with kernel programs.
pub trait Program: GlobalFunctions {
    /// What [`Self::attend`] needs besides the reader and the parser.
    type Attendant: Copy;

    /// Whether the frame times the oldest request of a connection. Otherwise [`Self::follow_responses`] times requests.
    const TIMES_OLDEST: bool = true;

    /// Returns the place for segments to a shard on this CPU. Only for ingress.
    fn reader(shard: u32) -> Option<*mut SegmentReader<Self>>;

    /// Whether a packet's payload begins a request.
    fn begins_request(context: &SkBuffContext, packet: &Packet) -> bool;

    /// Performs the driver's task for the parser. Stages keys, unless the reader's shard is
    /// [`NO_SHARD`](crate::keys::NO_SHARD).
    fn attend(reader: &mut SegmentReader<Self>, head: &mut Self::Head, attendant: Self::Attendant);

    /// Returns what [`Self::attend`] needs. `None` if there is no pairing, which no caller passes.
    fn attendant(pairing: *mut Pairing) -> Option<Self::Attendant>;

    /// A segment's requests follow. So many have arrived on the connection before.
    #[inline(always)]
    fn begin_segment(_: *mut Pairing, _arrived: u32) {}

    /// The connection is older than the probe.
    #[inline(always)]
    fn join(_: *mut Socket<Self>) {}

    /// Requests of the connection could not be followed.
    #[inline(always)]
    fn lose_requests(_: *mut Socket<Self>) {}

    /// Whether a request without an answer says something: that its client left before.
    #[inline(always)]
    fn pairs_answers(_: *mut Socket<Self>) -> bool {
        true
    }

    /// Whether the window is to be loaded for [`Self::try_fast_path`]. A protocol without a fast path keeps this.
    #[inline(always)]
    fn may_take_fast_path(_: &SegmentReader<Self>, _: &Self::Head) -> bool {
        false
    }

    /// Reads the whole segment on the fast path, or returns `false`. Then the segment's key is in the reader.
    #[inline(always)]
    fn try_fast_path(_: &mut SegmentReader<Self>) -> bool {
        false
    }

    /// Fills the fast path's cache after a segment that was parsed step by step.
    #[inline(always)]
    fn fill_cache(_: &mut SegmentReader<Self>, _: &Self::Head) {}

    /// Follows a segment with payload from a shard.
    fn follow_responses(context: &SkBuffContext, socket: *mut Socket<Self>, shard: u32, packet: &Packet);
}

/// Parts of the frame that the verifier checks once and on their own, not again for each state of their callers. Such a
/// global function cannot be generic, so [`global_functions`] writes them for each protocol.
pub trait GlobalFunctions: Protocol {
    /// [`parser::parse_payload`](crate::parser::parse_payload).
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn parse_payload(
        context: *mut __sk_buff,
        reader: *mut SegmentReader<Self>,
        head: *mut Self::Head,
        payload_at: u32,
        pairing: *mut Pairing,
    ) -> u64;

    /// [`requests::catch_up`](crate::requests::catch_up).
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn catch_up(
        socket: *mut Socket<Self>,
        shard: u32,
        sequence: u32,
        length: u32,
        accepted: u64,
    ) -> u64;
}

/// The pairing that a global function gets, or null if it gets none.
macro_rules! pairing_or_null {
    () => {
        core::ptr::null_mut()
    };
    ($pairing:ident) => {
        $pairing
    };
}

/// Implements [`GlobalFunctions`] for a protocol. Each function has a name of its own in the object. With `pairing`, the parser
/// gets a connection's pairing.
macro_rules! global_functions {
    ($protocol:ty, $parse_payload:ident, $catch_up:ident $(, $pairing:ident)?) => {
        impl $crate::program::GlobalFunctions for $protocol {
            #[inline(always)]
            unsafe fn parse_payload(
                context: *mut aya_ebpf::bindings::__sk_buff,
                reader: *mut probe_common::segment::SegmentReader<Self>,
                head: *mut <Self as probe_common::protocol::Protocol>::Head,
                payload_at: u32,
                _pairing: *mut probe_common::resp::Pairing,
            ) -> u64 {
                $(let $pairing = _pairing;)?
                // SAFETY: the caller's promise.
                unsafe { $parse_payload(context, reader, head, payload_at $(, $pairing)?) }
            }

            #[inline(always)]
            unsafe fn catch_up(
                socket: *mut probe_common::socket::Socket<Self>,
                shard: u32,
                sequence: u32,
                length: u32,
                accepted: u64,
            ) -> u64 {
                // SAFETY: the caller's promise.
                unsafe { $catch_up(socket, shard, sequence, length, accepted) }
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        unsafe extern "C" fn $parse_payload(
            context: *mut aya_ebpf::bindings::__sk_buff,
            reader: *mut probe_common::segment::SegmentReader<$protocol>,
            head: *mut <$protocol as probe_common::protocol::Protocol>::Head,
            payload_at: u32,
            $($pairing: *mut probe_common::resp::Pairing,)?
        ) -> u64 {
            let pairing = $crate::program::pairing_or_null!($($pairing)?);
            // SAFETY: the caller's promise.
            unsafe {
                $crate::parser::parse_payload::<$protocol>(context, reader, head, payload_at, pairing)
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        unsafe extern "C" fn $catch_up(
            socket: *mut probe_common::socket::Socket<$protocol>,
            shard: u32,
            sequence: u32,
            length: u32,
            accepted: u64,
        ) -> u64 {
            // SAFETY: the caller's promise.
            unsafe { $crate::requests::catch_up::<$protocol>(socket, shard, sequence, length, accepted) }
        }
    };
}

pub(crate) use {global_functions, pairing_or_null};
