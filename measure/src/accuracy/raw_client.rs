//! A TCP client that builds every segment itself. Its packets go through a TUN device and bypass the kernel's TCP.

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::segment::checksum;

pub(crate) const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
pub(crate) const RESET: u8 = 0x04;
const PUSH: u8 = 0x08;
pub(crate) const ACKNOWLEDGE: u8 = 0x10;

/// Sequence number of the SYN. The stream passes 2^32.
const INITIAL: u32 = u32::MAX - 500;

/// How long the server may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub(crate) struct RawSegment<'a> {
    /// Position of its first byte in the client's stream. May be anywhere.
    pub(crate) at: u32,
    pub(crate) payload: &'a [u8],
    /// TCP flags.
    pub(crate) flags: u8,
    /// Whether its checksum is wrong.
    pub(crate) is_damaged: bool,
}

impl<'a> RawSegment<'a> {
    /// A segment without fault.
    pub(crate) const fn sound(at: u32, payload: &'a [u8]) -> Self {
        Self { at, payload, flags: ACKNOWLEDGE | PUSH, is_damaged: false }
    }
}

/// A connection.
pub(crate) struct RawClient<'a> {
    tun: &'a File,
    own: SocketAddrV4,
    peer: SocketAddrV4,
    /// Sequence number of the server's next byte.
    receive_next: u32,
    /// How much of the client's stream the server has acknowledged.
    acknowledged: u32,
    /// Payload bytes received in order.
    received: u64,
    /// Whether the server has ended its side.
    is_ended: bool,
}

impl<'a> RawClient<'a> {
    /// Connects. The first segment ends the handshake.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) fn connect(tun: &'a File, own: SocketAddrV4, peer: SocketAddrV4) -> Result<Self> {
        let mut client =
            Self { tun, own, peer, receive_next: 0, acknowledged: 0, received: 0, is_ended: false };
        client.send(&RawSegment { at: u32::MAX, payload: &[], flags: SYN, is_damaged: false })?;
        let deadline = Instant::now() + HANDSHAKE;
        while client.receive_next == 0 {
            if Instant::now() > deadline {
                bail!("no SYN-ACK from {peer}");
            }
            client.receive(Duration::from_millis(50))?;
        }
        Ok(client)
    }

    /// How much of the client's stream the server has acknowledged.
    pub(crate) const fn acknowledged(&self) -> u32 {
        self.acknowledged
    }

    /// Payload bytes received in order.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Whether the server has ended its side.
    pub(crate) const fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub(crate) fn send(&mut self, segment: &RawSegment<'_>) -> Result<()> {
        let sequence = INITIAL.wrapping_add(1).wrapping_add(segment.at);
        let mut tcp = Vec::with_capacity(20 + segment.payload.len());
        tcp.extend(self.own.port().to_be_bytes());
        tcp.extend(self.peer.port().to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend(self.receive_next.to_be_bytes());
        tcp.extend([5 << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(segment.payload);
        let length = u16::try_from(tcp.len())?;
        let (source, destination) = (self.own.ip().octets(), self.peer.ip().octets());
        let pseudo = [&source[..], &destination, &[0, 6], &length.to_be_bytes()].concat();
        let wrong = if segment.is_damaged { 0x1234 } else { 0 };
        let sum = checksum(&[&pseudo[..], &tcp].concat()) ^ wrong;
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut packet = vec![0x45, 0];
        packet.extend((length + 20).to_be_bytes());
        packet.extend([0, 1, 0, 0, 64, 6, 0, 0]);
        packet.extend(source);
        packet.extend(destination);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(tcp);
        self.tun.write_all(&packet).context("the TUN device rejects packets")
    }

    /// Takes the packets that come within `wait`. Returns at the first moment without one after that.
    pub(crate) fn receive(&mut self, wait: Duration) -> Result<()> {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left)?;
            if poll(&mut [PollFd::new(self.tun, PollFlags::IN)], Some(&timeout))? == 0 {
                return Ok(());
            }
            let mut packet = [0; 2048];
            let length = self.tun.read(&mut packet)?;
            self.take(packet.get(..length).unwrap_or_default());
        }
    }

    /// Takes a packet of this connection.
    fn take(&mut self, packet: &[u8]) -> Option<()> {
        let tcp = packet.get(20..).filter(|_| packet.starts_with(&[0x45]) && packet.get(9) == Some(&6))?;
        let number = |at: usize| Some(u32::from_be_bytes(tcp.get(at..at + 4)?.try_into().ok()?));
        let ports = u32::from(self.peer.port()) << 16 | u32::from(self.own.port());
        if number(0)? != ports {
            return None;
        }
        let (sequence, acknowledged, flags) = (number(4)?, number(8)?, *tcp.get(13)?);
        let payload = tcp.get(usize::from(*tcp.get(12)? >> 4) * 4..)?.len() as u32;
        if flags & SYN != 0 {
            self.receive_next = sequence.wrapping_add(1);
            return Some(());
        }
        self.is_ended |= flags & (RESET | FIN) != 0;
        self.acknowledged = self.acknowledged.max(acknowledged.wrapping_sub(INITIAL.wrapping_add(1)));
        let old = self.receive_next.wrapping_sub(sequence);
        if old.cast_signed() >= 0 && payload > old {
            self.receive_next = sequence.wrapping_add(payload);
            self.received += u64::from(payload - old);
        }
        Some(())
    }
}
