//! Signal `connections`: connections newer and older than the probe.

use core::ops::AddAssign;

/// Value of the per-CPU array `CONNECTIONS`; the index is the shard. Monotonic since attach.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Handshakes that ended.
    pub opened: u64,
    /// Of those, connections that have ended since.
    pub closed: u64,
    /// Of the closed ones, those that ended before the shard's side had said that it was done (FIN): by a reset of
    /// either side, or by a time-out.
    pub aborted_connections: u64,
    /// Segments retransmitted by the shard's sockets.
    pub retransmitted: u64,
    /// Segments with RST that reached the shard's sockets.
    pub resets_received: u64,
    /// Segments with RST from the shard's address.
    pub resets_sent: u64,
    /// Connections whose handshake was not seen, from their first payload or their end on.
    pub preexisting_seen: u64,
    /// Of those, connections whose socket the shard has closed, or on which it has sent FIN or RST.
    pub preexisting_closed: u64,
}

impl Connections {
    /// Connections that are open now. 0 rather than less, as CPUs are not read at one instant.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// Preexisting connections that are open now. Never below 0, as above.
    #[must_use]
    pub const fn preexisting_open(&self) -> u64 {
        self.preexisting_seen.saturating_sub(self.preexisting_closed)
    }
}

/// Adds another CPU's share.
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

/// In each socket that was counted: as which kind of connection, so that each is counted as one kind only, and for the
/// shard its end counts for even if the shard has moved meanwhile.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// One of [`Mark::NEW`], [`Mark::PREEXISTING`], [`Mark::PREEXISTING_CLOSED`]; 0 right after it was made.
    pub kind: u64,
    /// The shard it was counted for, and is to be counted for at its end.
    pub shard: u32,
    /// Always 0.
    pub padding: u32,
    /// Of a preexisting one: how many segments TCP had retransmitted at the last look.
    pub retransmitted: u64,
}

impl Mark {
    /// Its handshake was seen, and the kernel reports its end.
    pub const NEW: u64 = 1;

    /// Its handshake was not seen.
    pub const PREEXISTING: u64 = 2;

    /// The same, and its end was counted.
    pub const PREEXISTING_CLOSED: u64 = 3;
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, `u64` only, no padding.
unsafe impl aya::Pod for Connections {}
