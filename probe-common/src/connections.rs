//! Signal `connections`: counters of new and preexisting connections.

use core::ops::AddAssign;

/// Value of the per-CPU array `CONNECTIONS`; the index is the shard. Monotonic since attach.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Connections whose handshake completed.
    pub opened: u64,
    /// Opened connections that have ended.
    pub closed: u64,
    /// Closed connections that ended before the shard's side sent FIN. A reset by either side or a timeout ended
    /// them.
    pub aborted_connections: u64,
    /// Segments retransmitted by the shard's sockets.
    pub retransmitted: u64,
    /// Segments with RST that reached the shard's sockets.
    pub resets_received: u64,
    /// Segments with RST from the shard's address.
    pub resets_sent: u64,
    /// Connections whose handshake was not seen. Each is counted at its first payload or at its end.
    pub preexisting_seen: u64,
    /// Preexisting connections whose socket the shard has closed, or on which it has sent FIN or RST.
    pub preexisting_closed: u64,
}

impl Connections {
    /// Returns the number of open connections. It saturates at 0, because the CPUs are not read at one instant.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// Returns the number of open preexisting connections. It saturates at 0, because the CPUs are not read at one
    /// instant.
    #[must_use]
    pub const fn preexisting_open(&self) -> u64 {
        self.preexisting_seen.saturating_sub(self.preexisting_closed)
    }
}

/// Adds another CPU's counters.
impl AddAssign<&Self> for Connections {
    fn add_assign(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.opened, other.opened),
            (&mut self.closed, other.closed),
            (&mut self.aborted_connections, other.aborted_connections),
            (&mut self.retransmitted, other.retransmitted),
            (&mut self.resets_received, other.resets_received),
            (&mut self.resets_sent, other.resets_sent),
            (&mut self.preexisting_seen, other.preexisting_seen),
            (&mut self.preexisting_closed, other.preexisting_closed),
        ] {
            *mine = mine.wrapping_add(theirs);
        }
    }
}

/// How a socket's connection was counted, kept in the socket storage. It ensures that a connection counts as one kind
/// only. Its end counts for the same shard, even if the endpoint has moved to another shard.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// One of [`Mark::NEW`], [`Mark::PREEXISTING`], [`Mark::PREEXISTING_CLOSED`]; 0 if the connection has not been
    /// counted.
    pub kind: u64,
    /// The shard that the connection and its end count for.
    pub shard: u32,
    /// Always 0.
    pub padding: u32,
    /// For a preexisting connection: segments that TCP had retransmitted at the last read.
    pub retransmitted: u64,
}

impl Mark {
    /// The handshake was seen, and the kernel reports the end.
    pub const NEW: u64 = 1;

    /// The handshake was not seen.
    pub const PREEXISTING: u64 = 2;

    /// The handshake was not seen, and the end has been counted.
    pub const PREEXISTING_CLOSED: u64 = 3;
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, `u64` only, no padding.
unsafe impl aya::Pod for Connections {}
