//! A TCP packet's headers, IPv4 options and IPv6 extension headers included.
//!
//! Headers without options are read by direct packet access, because a helper call takes longer than all work for a
//! packet of another port. They are read in units of 16 bits, which is the IP header's alignment.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::__sk_buff,
    helpers::generated::{bpf_loop, bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use probe_common::endpoint::Endpoint;

use crate::{endpoint_key::EndpointKey, ports};

const PROTOCOL_TCP: u8 = 6;
const FLAG_FIN: u16 = 1;
const FLAG_SYN: u16 = 2;
const FLAG_RESET: u16 = 4;
const FLAG_ACKNOWLEDGMENT: u16 = 16;
const FLAG_URGENT: u16 = 32;

/// Bytes of the headers without options.
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;

/// Bytes of the shortest IPv6 extension header.
const EXTENSION_UNIT: u32 = 8;

/// Largest number of steps along IPv6 extension headers: one for each, and one for TCP. There are eight kinds, and each
/// should occur once.
const EXTENSIONS: u32 = 9;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// Why no requests are counted in a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Not TCP, or to a port that no shard has.
    Unrelated,
    /// Its headers could not be parsed.
    Headers,
}

/// The first byte of an IPv4 header without options.
const PLAIN_IPV4: u8 = 0x45;

/// No packet is longer, also no batch of segments. The verifier needs a bound.
const LENGTH_MAX: u32 = 1 << 20;

/// The end of a connection that may be a shard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The packet's source.
    Source,
    /// The packet's destination.
    Destination,
}

/// The parts of a packet that the signals need. Offsets count from the IP header.
pub struct Packet {
    /// TCP sequence number of the first payload byte.
    pub sequence: u32,
    /// TCP acknowledgment number.
    pub acknowledgment: u32,
    /// The TCP header's data offset and flags.
    flags: u16,
    /// Where the payload begins.
    pub payload_at: u32,
    /// Bytes of payload.
    pub payload_length: u32,
    /// Bytes of the IP header.
    ip_header: u32,
    /// Whether it is IPv4; otherwise IPv6.
    is_ipv4: bool,
}

impl Packet {
    /// Reads the headers.
    #[inline(always)]
    pub fn parse(context: &SkBuffContext, end: End) -> Result<Self, Skip> {
        if let Some(header) = Header::<{ IPV4_HEADER + TCP_HEADER }>::of(context)
            && header.byte(0) == PLAIN_IPV4
        {
            return if header.byte(9) == PROTOCOL_TCP {
                header.tcp::<IPV4_HEADER>(context, end)
            } else {
                Err(Skip::Unrelated)
            };
        }
        if let Some(header) = Header::<{ IPV6_HEADER + TCP_HEADER }>::of(context)
            && header.byte(0) >> 4 == 6
            && header.byte(6) == PROTOCOL_TCP
        {
            return header.tcp::<IPV6_HEADER>(context, end);
        }
        Self::copied(context, end)
    }

    /// Reads headers with options, and headers outside of the directly readable part.
    #[inline(always)]
    fn copied(context: &SkBuffContext, end: End) -> Result<Self, Skip> {
        let first: u8 = load(context, 0)?;
        // The version nibble decides, because the socket family of a v4-mapped connection is IPv6.
        let is_ipv4 = first >> 4 == 4;
        let ip_header = if is_ipv4 {
            let protocol: u8 = load(context, 9)?;
            if protocol != PROTOCOL_TCP {
                return Err(Skip::Unrelated);
            }
            usize::from(first & 15) * 4
        } else {
            behind_extensions(context)?
        };
        let port = u16::from_be(load(context, ip_header + port_at(end))?);
        if !ports::may_be_shard(port) {
            return Err(Skip::Unrelated);
        }
        let sequence = u32::from_be(load(context, ip_header + 4)?);
        let acknowledgment = u32::from_be(load(context, ip_header + 8)?);
        let flags = u16::from_be(load(context, ip_header + 12)?);
        Self::of(context, (sequence, acknowledgment), flags, is_ipv4, ip_header)
    }

    #[inline(always)]
    fn of(
        context: &SkBuffContext,
        (sequence, acknowledgment): (u32, u32),
        flags: u16,
        is_ipv4: bool,
        ip_header: usize,
    ) -> Result<Self, Skip> {
        let payload_at = ip_header as u32 + u32::from(flags >> 12) * 4;
        let payload_length = context
            .len()
            .checked_sub(payload_at)
            .filter(|length| *length < LENGTH_MAX)
            .ok_or(Skip::Headers)?;
        Ok(Self {
            // A SYN, which may carry payload (TCP Fast Open), has a sequence number of its own.
            sequence: sequence.wrapping_add(u32::from((flags / FLAG_SYN) & 1)),
            acknowledgment,
            flags,
            payload_at,
            payload_length,
            ip_header: ip_header as u32,
            is_ipv4,
        })
    }

    /// Whether its sender sends no further data (FIN, RST).
    #[inline(always)]
    pub const fn is_last(&self) -> bool {
        self.flags & (FLAG_FIN | FLAG_RESET) != 0
    }

    /// Whether it has the ACK flag. TCP drops segments of a connection without it.
    #[inline(always)]
    pub const fn is_acknowledgment(&self) -> bool {
        self.flags & FLAG_ACKNOWLEDGMENT != 0
    }

    /// Whether it has urgent data.
    #[inline(always)]
    pub const fn is_urgent(&self) -> bool {
        self.flags & FLAG_URGENT != 0
    }

    /// Whether its sender resets the connection (RST).
    #[inline(always)]
    pub const fn is_reset(&self) -> bool {
        self.flags & FLAG_RESET != 0
    }

    /// Address and port of an end.
    #[inline(always)]
    pub fn at(&self, context: &SkBuffContext, end: End) -> Option<EndpointKey> {
        let second = end == End::Destination;
        let ip_header = self.ip_header as usize;
        let port = u16::from_be(context.load(ip_header + port_at(end)).ok()?);
        Some(EndpointKey::of(if self.is_ipv4 {
            Endpoint::v4(context.load(if second { 16 } else { 12 }).ok()?, port)
        } else {
            Endpoint::v6(context.load(if second { 24 } else { 8 }).ok()?, port)
        }))
    }
}

#[inline(always)]
fn load<T>(context: &SkBuffContext, at: usize) -> Result<T, Skip> {
    context.load(at).map_err(|_| Skip::Headers)
}

/// Follows IPv6 extension headers (RFC 8200, section 4) to TCP's header.
#[inline(always)]
fn behind_extensions(context: &SkBuffContext) -> Result<usize, Skip> {
    let next: u8 = load(context, 6)?;
    let mut walk =
        Walk { context: context.as_ptr().cast(), at: IPV6_HEADER as u32, next: u32::from(next), fails: 0 };
    // `bpf_loop`, because the verifier would follow a plain loop for every kind of header in every step.
    // SAFETY: the callback has the signature that `bpf_loop` calls, and `walk` outlives the call.
    unsafe { bpf_loop(EXTENSIONS, skip_extension as *mut c_void, (&raw mut walk).cast(), 0) };
    if walk.fails == 0 && walk.next == u32::from(PROTOCOL_TCP) {
        Ok(walk.at as usize)
    } else {
        Err(Skip::Headers)
    }
}

/// The argument of `bpf_loop`'s callback.
#[repr(C)]
struct Walk {
    context: *mut __sk_buff,
    /// Offset of the current header.
    at: u32,
    /// Its kind.
    next: u32,
    fails: u32,
}

/// Callback of `bpf_loop`: skips one extension header. Returns 1 to end the loop.
unsafe extern "C" fn skip_extension(_: u32, walk: *mut Walk) -> i64 {
    // SAFETY: `bpf_loop` passes on the pointer it was given.
    let walk = unsafe { &mut *walk };
    if walk.next == u32::from(PROTOCOL_TCP) {
        return 1;
    }
    let mut start = [0_u8; 2];
    // SAFETY: the buffer has that length.
    let failed = unsafe { bpf_skb_load_bytes(walk.context.cast(), walk.at, start.as_mut_ptr().cast(), 2) };
    let [following, length] = start;
    let length = u32::from(length);
    walk.at += match walk.next as u8 {
        HOP_BY_HOP | ROUTING | DESTINATION | MOBILITY | HOST_IDENTITY | SHIM6 => {
            (length + 1) * EXTENSION_UNIT
        }
        FRAGMENT => EXTENSION_UNIT,
        AUTHENTICATION => (length + 2) * 4,
        // Another protocol. If TCP follows nevertheless, the packet has a TCP socket.
        _ => {
            walk.fails = 1;
            return 1;
        }
    };
    walk.next = u32::from(following);
    if failed != 0 {
        walk.fails = 1;
        return 1;
    }
    0
}

/// The first `LENGTH` bytes of a packet, read in place.
struct Header<const LENGTH: usize>(*const u8);

impl<const LENGTH: usize> Header<LENGTH> {
    /// Returns `None` if they are not all in the directly readable part.
    #[inline(always)]
    fn of(context: &SkBuffContext) -> Option<Self> {
        // SAFETY: the context's own structure, which the verifier rewrites to the kernel's.
        let (data, end) = unsafe { ((*context.skb.skb).data as usize, (*context.skb.skb).data_end as usize) };
        (data + LENGTH <= end).then_some(Self(data as *const u8))
    }

    #[inline(always)]
    fn byte(&self, at: usize) -> u8 {
        // SAFETY: all callers stay below `LENGTH`, and the verifier checks it.
        unsafe { *self.0.add(at) }
    }

    #[inline(always)]
    fn half(&self, at: usize) -> u16 {
        // SAFETY: as above; the address is even.
        unsafe { *self.0.add(at).cast::<u16>() }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> u32 {
        u32::from(self.half(at)) | u32::from(self.half(at + 2)) << 16
    }

    #[inline(always)]
    fn tcp<const IP_HEADER: usize>(&self, context: &SkBuffContext, end: End) -> Result<Packet, Skip> {
        if !ports::may_be_shard(u16::from_be(self.half(IP_HEADER + port_at(end)))) {
            return Err(Skip::Unrelated);
        }
        let numbers = (u32::from_be(self.word(IP_HEADER + 4)), u32::from_be(self.word(IP_HEADER + 8)));
        let flags = u16::from_be(self.half(IP_HEADER + 12));
        Packet::of(context, numbers, flags, IP_HEADER == IPV4_HEADER, IP_HEADER)
    }
}

/// Offset of a port in the TCP header.
#[inline(always)]
const fn port_at(end: End) -> usize {
    match end {
        End::Source => 0,
        End::Destination => 2,
    }
}
