//! A TCP packet's headers. IPv6 extension headers are not followed: such packets are not seen as TCP.

use aya_ebpf::programs::SkBuffContext;
use probe_common::endpoint::Endpoint;

const PROTOCOL_TCP: u8 = 6;
const FLAG_FIN: u8 = 1;
const FLAG_RESET: u8 = 4;
const IPV6_SOURCE: usize = 8;
const IPV6_DESTINATION: usize = 24;
const IPV6_HEADER: u32 = 40;

/// No packet is longer, batches of segments included; the verifier wants a bound.
const LENGTH_MAX: u32 = 1 << 20;

/// What the signals need of one packet. Offsets count from the IP header.
pub struct Packet {
    /// The first bytes of the IP header: as many as IPv4's has without options.
    ip: [u8; 20],
    source_port: u16,
    destination_port: u16,
    /// TCP sequence number of the first payload byte.
    pub sequence: u32,
    /// Whether its sender has nothing more to say (FIN, RST).
    pub is_last: bool,
    /// Whether its sender breaks the connection off (RST).
    pub is_reset: bool,
    /// Where the payload begins.
    pub payload_at: u32,
    /// Bytes of payload.
    pub payload_length: u32,
}

impl Packet {
    /// Reads the headers; `None` for anything but TCP.
    #[inline(always)]
    pub fn read(context: &SkBuffContext) -> Option<Self> {
        let ip: [u8; 20] = context.load(0).ok()?;
        let (protocol, tcp_at) =
            if is_ipv4(&ip) { (ip[9], u32::from(ip[0] & 15) * 4) } else { (ip[6], IPV6_HEADER) };
        if protocol != PROTOCOL_TCP {
            return None;
        }
        let tcp: [u8; 14] = context.load(tcp_at as usize).ok()?;
        let payload_at = tcp_at + u32::from(tcp[12] >> 4) * 4;
        let payload_length = context.len().checked_sub(payload_at).filter(|length| *length < LENGTH_MAX)?;
        Some(Self {
            ip,
            source_port: u16::from_be_bytes([tcp[0], tcp[1]]),
            destination_port: u16::from_be_bytes([tcp[2], tcp[3]]),
            // A SYN, which may carry payload (TCP Fast Open), takes a number of its own.
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]])
                .wrapping_add(u32::from(tcp[13] >> 1 & 1)),
            is_last: tcp[13] & (FLAG_FIN | FLAG_RESET) != 0,
            is_reset: tcp[13] & FLAG_RESET != 0,
            payload_at,
            payload_length,
        })
    }

    /// Where the packet comes from.
    #[inline(always)]
    pub fn source(&self, context: &SkBuffContext) -> Option<Endpoint> {
        let [.., a, b, c, d, _, _, _, _] = self.ip;
        self.endpoint(context, [a, b, c, d], IPV6_SOURCE, self.source_port)
    }

    /// Where the packet goes to.
    #[inline(always)]
    pub fn destination(&self, context: &SkBuffContext) -> Option<Endpoint> {
        let [.., a, b, c, d] = self.ip;
        self.endpoint(context, [a, b, c, d], IPV6_DESTINATION, self.destination_port)
    }

    #[inline(always)]
    fn endpoint(&self, context: &SkBuffContext, v4: [u8; 4], v6_at: usize, port: u16) -> Option<Endpoint> {
        if is_ipv4(&self.ip) {
            Some(Endpoint::v4(v4, port))
        } else {
            Some(Endpoint::v6(context.load(v6_at).ok()?, port))
        }
    }
}

/// The version nibble decides: the socket family of a v4-mapped connection says IPv6.
#[inline(always)]
fn is_ipv4(ip: &[u8; 20]) -> bool {
    ip[0] >> 4 == 4
}
