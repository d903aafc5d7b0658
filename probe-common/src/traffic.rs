//! Signal `traffic`: bytes and packets of a shard's sockets.

use core::ops::AddAssign;

/// One direction of a shard's traffic, measured at the shard's socket. Monotonic since attach.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// TCP payload in bytes. Retransmitted segments count again.
    pub payload_bytes: u64,
    /// Bytes from the IP header on, as the network stack passes them. A batch of segments (GSO) has one header.
    pub ip_bytes: u64,
    /// Packets on the wire. A batch counts as the number of segments in it.
    pub packets: u64,
}

/// Value of the per-CPU array `TRAFFIC`. The index is the shard.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Towards the shard.
    pub receive: Flow,
    /// From the shard.
    pub transmit: Flow,
}

/// Adds another CPU's counters.
impl AddAssign<&Self> for Flow {
    fn add_assign(&mut self, other: &Self) {
        self.payload_bytes = self.payload_bytes.wrapping_add(other.payload_bytes);
        self.ip_bytes = self.ip_bytes.wrapping_add(other.ip_bytes);
        self.packets = self.packets.wrapping_add(other.packets);
    }
}

/// Adds another CPU's counters.
impl AddAssign<&Self> for Traffic {
    fn add_assign(&mut self, other: &Self) {
        self.receive += &other.receive;
        self.transmit += &other.transmit;
    }
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, `u64` only, no padding.
unsafe impl aya::Pod for Traffic {}
