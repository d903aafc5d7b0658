//! Eight bytes at once.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Returns a word with its ASCII letters in lower case.
#[inline(always)]
pub(super) const fn lower(word: u64) -> u64 {
    let low = word & !TOPS;
    let from_a = low + ONES * (0x80 - b'A' as u64);
    let past_z = low + ONES * (0x7f - b'Z' as u64);
    let is_upper = (from_a ^ past_z) & !word & TOPS;
    word | is_upper >> 2
}
