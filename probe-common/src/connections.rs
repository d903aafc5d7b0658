//! Signal `connections`: those that were set up since the probe attached.

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
    pub cut: u64,
    /// Segments the shard's sockets sent again.
    pub retransmitted: u64,
}

impl Connections {
    /// Connections that are open now. 0 rather than less, as CPUs are not read at one instant.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }

    /// Adds another CPU's share.
    pub fn add(&mut self, other: &Self) {
        self.opened = self.opened.wrapping_add(other.opened);
        self.closed = self.closed.wrapping_add(other.closed);
        self.cut = self.cut.wrapping_add(other.cut);
        self.retransmitted = self.retransmitted.wrapping_add(other.retransmitted);
    }
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, `u64` only, no padding.
unsafe impl aya::Pod for Connections {}
