//! Tests on eight bytes at once (SWAR), and character classes of heads.
//!
//! See "Determine if a word has a byte less than n" in Sean Eron Anderson's Bit Twiddling Hacks.

pub(super) const fn word(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

/// Returns byte `at` of a pattern in two words. Constants avoid a table, because each table would be a map that needs
/// a lookup.
#[inline(always)]
pub(super) const fn pattern(low: u64, high: u64, at: u8) -> u8 {
    if at < 8 { (low >> (at as u32 * 8)) as u8 } else { (high >> ((at as u32 & 7) * 8)) as u8 }
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// Marks bytes equal to `byte`. Marks above the lowest one may be wrong, but [`first`] uses only the lowest.
#[inline(always)]
pub(super) const fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (ONES * byte as u64);
    difference.wrapping_sub(ONES) & !difference & TOPS
}

/// Marks bytes below `limit` (at most 128). Only the marks up to the lowest one are exact.
#[inline(always)]
pub(super) const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * limit as u64) & !word & TOPS
}

/// Marks bytes that are not ASCII. All marks are exact.
#[inline(always)]
pub(super) const fn beyond_ascii(word: u64) -> u64 {
    word & TOPS
}

/// Marks bytes that are not ASCII letters. All marks are exact.
#[inline(always)]
pub(super) const fn not_letter(word: u64) -> u64 {
    let lower = (word | (ONES * 0x20)) & !TOPS;
    let from_a = lower + ONES * (0x80 - b'a' as u64);
    let past_z = lower + ONES * (0x7f - b'z' as u64);
    !(from_a & !past_z & !word) & TOPS
}

/// Returns the index of the lowest marked byte, or 8 if none is marked. BPF has no instruction that counts zeros.
#[inline(always)]
pub(super) const fn first(marks: u64) -> u32 {
    if marks == 0 {
        return 8;
    }
    let below_first = (marks - 1) & ONES;
    (below_first.wrapping_mul(ONES) >> 56) as u32 - 1
}

/// Returns byte `at` (below 8) of a word.
#[inline(always)]
pub(super) const fn byte_at(word: u64, at: u32) -> u8 {
    (word >> ((at & 7) * 8)) as u8
}

/// Whether a byte is an RFC 9110 `tchar`, which `httparse` accepts in methods and header names.
#[inline(always)]
pub(super) const fn is_token(byte: u8) -> bool {
    // One bit for each of the 128 ASCII characters.
    const LOW: u64 = 0x03ff_6cfa_0000_0000;
    const HIGH: u64 = 0x57ff_ffff_c7ff_fffe;
    let bits = if byte < 64 { LOW } else { HIGH };
    byte < 128 && (bits >> (byte as u32 & 63)) & 1 == 1
}

/// Returns an ASCII letter in lower case, and other bytes unchanged, so that CR is not read as `-`.
#[inline(always)]
pub(super) const fn lower(byte: u8) -> u8 {
    if byte.is_ascii_uppercase() { byte | 0x20 } else { byte }
}
