//! What is kept of a command until its reply comes.

use crate::resp::{FAMILIES, MAX_COMMANDS, pairing::KEPT};

/// A command that waits for its reply, in one word, so that both directions read and write it as a whole: its number
/// among the store's commands (9 bits), two flags, twelve bits of its place in the connection, its arrival in units of
/// 64 ns (37 bits: 2.4 hours), and its family plus one (4 bits).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked(pub(super) u64);

const NUMBER: u64 = (1 << 9) - 1;
pub(super) const IS_QUEUED: u64 = 1 << 9;
pub(super) const IS_EXEC: u64 = 1 << 10;
const TURN_SHIFT: u32 = 11;
const TURN: u64 = (1 << 12) - 1;
const TIME_SHIFT: u32 = 23;
const TIME_BITS: u32 = 37;
const TIME: u64 = (1 << TIME_BITS) - 1;
const FAMILY_SHIFT: u32 = TIME_SHIFT + TIME_BITS;
const UNIT_SHIFT: u32 = 6;

/// The clocks of arrivals and departures differ by less than this, in units: 69 s.
const SKEW: u64 = 1 << 30;

const KEPT_BITS: u32 = KEPT.trailing_zeros();
const _: () = assert!(KEPT.is_power_of_two() && MAX_COMMANDS as u64 == NUMBER + 1);
const _: () = assert!(FAMILIES < 1 << (u64::BITS - FAMILY_SHIFT));

/// What ingress knows of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its number among the store's commands.
    pub number: u16,
    /// It is `EXEC`.
    pub is_exec: bool,
    /// It is queued in a transaction whose end the replies decide.
    pub is_queued: bool,
    /// Its family, if its latency is to be measured.
    pub timed: Option<u8>,
}

impl Asked {
    #[inline(always)]
    pub(super) const fn new(place: u32, facts: Facts, came_at: u64) -> Self {
        let family = match facts.timed {
            Some(family) => family as u64 + 1,
            None => 0,
        };
        let queued = if facts.is_queued { IS_QUEUED } else { 0 };
        let exec = if facts.is_exec { IS_EXEC } else { 0 };
        let turn = (place >> KEPT_BITS) as u64 & TURN;
        let time = (came_at >> UNIT_SHIFT) & TIME;
        let flags = facts.number as u64 & NUMBER | queued | exec;
        Self(flags | turn << TURN_SHIFT | time << TIME_SHIFT | family << FAMILY_SHIFT)
    }

    /// Whether this is the command at that place, and not an earlier or a later one that shares its slot.
    #[inline(always)]
    pub(super) const fn is_at(self, place: u32) -> bool {
        (self.0 >> TURN_SHIFT) & TURN == (place >> KEPT_BITS) as u64 & TURN
    }

    /// When it arrived, in a unit of its own, and its [family](family_of); 0 if its latency is not to be measured.
    #[must_use]
    #[inline(always)]
    pub const fn timed_from(self) -> u64 {
        if self.0 >> FAMILY_SHIFT == 0 { 0 } else { self.0 >> TIME_SHIFT }
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

/// Returns the family of the command that [`Asked::timed_from`] describes.
#[must_use]
#[inline(always)]
pub const fn family_of(from: u64) -> u32 {
    ((from >> TIME_BITS) as u32).wrapping_sub(1)
}

/// Returns the nanoseconds from an arrival, as [`Asked::timed_from`] has it, until `now`.
#[must_use]
#[inline(always)]
pub const fn took(from: u64, now: u64) -> u64 {
    between(from, now >> UNIT_SHIFT)
}

/// Returns the nanoseconds between two times in units: 0 if the second time is at most [`SKEW`] before the first.
#[inline(always)]
const fn between(from: u64, to: u64) -> u64 {
    let units = to.wrapping_sub(from) & TIME;
    if units > TIME - SKEW { 0 } else { units << UNIT_SHIFT }
}
