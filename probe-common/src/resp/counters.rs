//! Signal `commands`: commands by number.

use core::ops::AddAssign;

use super::{MAX_COMMANDS, UNTIMED};

/// Value of the per-CPU array `COMMAND_COUNTS`; the index is the shard. Monotonic since attach.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandCounters {
    /// Commands that TCP has accepted, by [number](super::CommandSpec::number). Number 0 is unknown commands.
    pub by_number: [u64; MAX_COMMANDS],
    /// Of them, commands that were queued in a transaction and discarded with it. Number 0 is discarded commands
    /// whose numbers were not kept.
    pub discarded: [u64; MAX_COMMANDS],
    /// Commands whose latency is not measured, by [`Untimed`](super::Untimed).
    pub untimed: [u64; UNTIMED],
}

impl Default for CommandCounters {
    fn default() -> Self {
        Self { by_number: [0; MAX_COMMANDS], discarded: [0; MAX_COMMANDS], untimed: [0; UNTIMED] }
    }
}

/// Adds another CPU's counters.
impl AddAssign<&Self> for CommandCounters {
    fn add_assign(&mut self, other: &Self) {
        let by_number = self.by_number.iter_mut().zip(other.by_number);
        let discarded = self.discarded.iter_mut().zip(other.discarded);
        let untimed = self.untimed.iter_mut().zip(other.untimed);
        for (mine, theirs) in by_number.chain(discarded).chain(untimed) {
            *mine = mine.wrapping_add(theirs);
        }
    }
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, `u64` only, no padding.
unsafe impl aya::Pod for CommandCounters {}
