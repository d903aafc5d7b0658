//! Distinguishes staged values of RESP: a key, a command, or both.

/// [`KeyText::tag`](crate::key::KeyText::tag) of RESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(u32);

const COMMAND: u32 = 1 << 31;
const NO_KEY: u32 = 1 << 30;
const DISCARDS: u32 = 1 << 29;

impl Tag {
    /// A key that is not its command's last one.
    pub const KEY: Self = Self(0);

    /// A command with this number, with its last key or without a key.
    #[must_use]
    #[inline(always)]
    pub const fn command(number: u16, has_key: bool, discards: bool) -> Self {
        let key = if has_key { 0 } else { NO_KEY };
        let discards = if discards { DISCARDS } else { 0 };
        Self(number as u32 | COMMAND | key | discards)
    }

    /// Returns the tag of a staged key.
    #[must_use]
    #[inline(always)]
    pub const fn of(tag: u32) -> Self {
        Self(tag)
    }

    /// Returns the value for a staged key.
    #[must_use]
    #[inline(always)]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// Whether a key is staged.
    #[must_use]
    #[inline(always)]
    pub const fn has_key(self) -> bool {
        self.0 & NO_KEY == 0
    }

    /// Returns the number of the command that is complete, if one is.
    #[must_use]
    #[inline(always)]
    pub const fn number(self) -> Option<u16> {
        if self.0 & COMMAND == 0 { None } else { Some(self.0 as u16) }
    }

    /// Whether the command discards queued commands: [`StagedKey::extra`](crate::pending::StagedKey::extra) has their
    /// number.
    #[must_use]
    #[inline(always)]
    pub const fn discards(self) -> bool {
        self.0 & DISCARDS != 0
    }
}
