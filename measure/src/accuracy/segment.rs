//! Forges segments that TCP must drop, and sends them into a connection of this process over loopback and IPv4.

use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;

use super::socket_option;

/// `TCP_REPAIR` and its options in `linux/tcp.h`.
const REPAIR: i32 = 19;
const REPAIR_QUEUE: i32 = 20;
const QUEUE_SEQUENCE: i32 = 21;
const TIMESTAMP: i32 = 24;
const REPAIR_OFF_WITHOUT_PROBE: i32 = -1;
const RECEIVE_QUEUE: i32 = 1;
const SEND_QUEUE: i32 = 2;

const PUSH: u8 = 0x08;
const ACKNOWLEDGE: u8 = 0x10;

/// Why TCP drops the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A wrong checksum.
    Checksum,
    /// A sequence number far beyond the receive window.
    OutOfWindow,
    /// A timestamp older than the newest one received (RFC 7323, PAWS).
    OldTimestamp,
    /// No ACK flag.
    NoAcknowledgement,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] =
        [Self::Checksum, Self::OutOfWindow, Self::OldTimestamp, Self::NoAcknowledgement];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Checksum => "wrong checksum",
            Self::OutOfWindow => "out of window",
            Self::OldTimestamp => "old timestamp",
            Self::NoAcknowledgement => "no ACK flag",
        }
    }
}

/// Sends `payload` at the next sequence number of `stream`, in a segment with this fault. Needs `CAP_NET_ADMIN`.
pub(crate) fn send(stream: &TcpStream, payload: &[u8], fault: Fault) -> Result<()> {
    let (own, peer) = (stream.local_addr()?, stream.peer_addr()?);
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (own.ip(), peer.ip()) else {
        bail!("segments are made for IPv4 only");
    };
    let numbers = Numbers::of(stream).context("the connection's sequence numbers cannot be read")?;
    let beyond = if fault == Fault::OutOfWindow { 1 << 28 } else { 0 };
    let flags = if fault == Fault::NoAcknowledgement { PUSH } else { PUSH | ACKNOWLEDGE };
    // A day in milliseconds, far longer than the connection exists.
    let age = if fault == Fault::OldTimestamp { 86_400_000 } else { 0 };
    let mut segment = Vec::new();
    segment.extend(own.port().to_be_bytes());
    segment.extend(peer.port().to_be_bytes());
    segment.extend(numbers.send.wrapping_add(beyond).to_be_bytes());
    segment.extend(numbers.receive.to_be_bytes());
    // Eight words of header: five, then two NOPs and the timestamp option.
    segment.extend([8 << 4, flags, 2, 0, 0, 0, 0, 0, 1, 1, 8, 10]);
    segment.extend(numbers.timestamp.wrapping_sub(age).to_be_bytes());
    segment.extend([0; 4]);
    segment.extend(payload);
    let length = u16::try_from(segment.len())?;
    let pseudo = [&source.octets()[..], &destination.octets(), &[0, 6], &length.to_be_bytes()].concat();
    let checksum = checksum(&[&pseudo[..], &segment].concat());
    let wrong = if fault == Fault::Checksum { 0x1234 } else { 0 };
    segment[16..18].copy_from_slice(&(checksum ^ wrong).to_be_bytes());
    // The kernel fills in length and checksum of the IP header.
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(&segment);
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    raw.send_to(&packet, &SocketAddr::new(peer.ip(), 0).into())?;
    Ok(())
}

struct Numbers {
    send: u32,
    receive: u32,
    timestamp: u32,
}

impl Numbers {
    fn of(stream: &TcpStream) -> Result<Self> {
        let set = |name: i32, value: i32| {
            socket_option::set(stream.as_fd(), libc::IPPROTO_TCP, name, &value.to_ne_bytes())
        };
        let get = |name: i32| {
            socket_option::get::<4>(stream.as_fd(), libc::IPPROTO_TCP, name).map(u32::from_ne_bytes)
        };
        set(REPAIR, 1)?;
        let numbers = (|| {
            set(REPAIR_QUEUE, SEND_QUEUE)?;
            let send = get(QUEUE_SEQUENCE)?;
            set(REPAIR_QUEUE, RECEIVE_QUEUE)?;
            std::io::Result::Ok(Self { send, receive: get(QUEUE_SEQUENCE)?, timestamp: get(TIMESTAMP)? })
        })();
        set(REPAIR, REPAIR_OFF_WITHOUT_PROBE)?;
        Ok(numbers?)
    }
}

/// The Internet checksum (RFC 1071).
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn checksums_are_those_of_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0xff]), !0xff00);
    }
}
