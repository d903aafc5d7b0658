//! What is kept of a command until its reply comes.

use crate::resp::{MAX_COMMANDS, pairing::KEPT};

/// A command that waits for its reply, in one word, so that both directions read and write it as a whole: its number
/// among the store's commands (9 bits), three flags, twelve bits of its place in the connection, and its arrival in units
/// of 64 ns (40 bits: 19 hours).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(pub(super) u64);

const NUMBER: u64 = (1 << 9) - 1;
const IS_TIMED: u64 = 1 << 9;
pub(super) const IS_QUEUED: u64 = 1 << 10;
pub(super) const IS_EXEC: u64 = 1 << 11;
const TURN_SHIFT: u32 = 12;
const TURN: u64 = (1 << 12) - 1;
const TIME_SHIFT: u32 = 24;
const TIME: u64 = (1 << 40) - 1;
const UNIT_SHIFT: u32 = 6;

const KEPT_BITS: u32 = KEPT.trailing_zeros();
const _: () = assert!(KEPT.is_power_of_two() && MAX_COMMANDS as u64 == NUMBER + 1);

/// What ingress knows of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its number among the store's commands.
    pub number: u16,
    /// It is `EXEC`.
    pub is_exec: bool,
    /// It is queued in a transaction whose end the replies decide.
    pub is_queued: bool,
    /// Its latency is to be measured.
    pub is_timed: bool,
}

impl Asked {
    #[inline(always)]
    pub(super) const fn new(place: u32, facts: Facts, came_at: u64) -> Self {
        let timed = if facts.is_timed { IS_TIMED } else { 0 };
        let queued = if facts.is_queued { IS_QUEUED } else { 0 };
        let exec = if facts.is_exec { IS_EXEC } else { 0 };
        let turn = (place >> KEPT_BITS) as u64 & TURN;
        let time = (came_at >> UNIT_SHIFT) & TIME;
        Self(facts.number as u64 & NUMBER | timed | queued | exec | turn << TURN_SHIFT | time << TIME_SHIFT)
    }

    /// Whether this is the command at that place, and not an earlier or a later one that shares its slot.
    #[inline(always)]
    pub(super) const fn is_at(self, place: u32) -> bool {
        (self.0 >> TURN_SHIFT) & TURN == (place >> KEPT_BITS) as u64 & TURN
    }

    /// When it arrived, in a unit of its own; 0 if its latency is not to be measured.
    #[must_use]
    #[inline(always)]
    pub const fn timed_from(self) -> u64 {
        if self.0 & IS_TIMED == 0 { 0 } else { self.0 >> TIME_SHIFT | 1 << 63 }
    }

    /// Returns the nanoseconds from `left_at` until it arrived.
    #[must_use]
    #[inline(always)]
    pub(super) const fn came_after(self, left_at: u64) -> u64 {
        between(left_at >> UNIT_SHIFT, self.0 >> TIME_SHIFT)
    }

    /// Returns its number among the store's commands.
    #[must_use]
    #[inline(always)]
    pub const fn number(self) -> u16 {
        (self.0 & NUMBER) as u16
    }
}

/// Returns the nanoseconds from an arrival, as [`Asked::timed_from`] has it, until `now`.
#[must_use]
#[inline(always)]
pub const fn took(from: u64, now: u64) -> u64 {
    between(from, now >> UNIT_SHIFT)
}

/// Returns the nanoseconds between two times in units. The clocks of arrivals and departures differ a little: 0 if the second
/// time is before the first.
#[inline(always)]
const fn between(from: u64, to: u64) -> u64 {
    let units = to.wrapping_sub(from) & TIME;
    if units > TIME / 2 { 0 } else { units << UNIT_SHIFT }
}
