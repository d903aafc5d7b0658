//! A bitmap of all endpoints' ports, which rejects unrelated packets early.

/// Words of the array `PORTS`: 65,536 bits.
pub const WORDS: u32 = 1 << 10;

/// Returns the index of the word with a port's bit.
#[must_use]
#[inline(always)]
pub const fn word(port: u16) -> u32 {
    port as u32 / 64
}

/// Returns a port's bit in its [`word`].
#[must_use]
#[inline(always)]
pub const fn bit(port: u16) -> u64 {
    1 << (port % 64)
}
