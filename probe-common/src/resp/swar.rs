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

/// Returns how many bytes come before the first LF: 8 if there is none.
#[inline(always)]
pub(super) const fn before_line_end(word: u64) -> u32 {
    let difference = word ^ (ONES * b'\n' as u64);
    // Marks above the lowest one may be wrong.
    before_mark(difference.wrapping_sub(ONES) & !difference & TOPS)
}

/// Returns how many bytes come before the first one that is no decimal digit: 8 if all are digits.
#[inline(always)]
pub(super) const fn digits(word: u64) -> u32 {
    let difference = word ^ (ONES * b'0' as u64);
    let from_ten = (difference & !TOPS) + ONES * (0x80 - 10);
    before_mark((difference | from_ten) & TOPS)
}

/// Returns how many bytes come before the first one whose top bit is set. The other bits are zeros.
#[inline(always)]
const fn before_mark(marks: u64) -> u32 {
    if marks == 0 {
        return 8;
    }
    // BPF has no instruction that counts zeros.
    let below_first = (marks - 1) & ONES;
    (below_first.wrapping_mul(ONES) >> 56) as u32 - 1
}
