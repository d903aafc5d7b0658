//! The first bytes of a segment: whether a command begins there.
//!
//! A value may contain what looks like the beginning of a command. Parsing therefore resumes only at an array whose
//! first argument is the name of a command of the store. The count has at most four digits, the name 24 bytes.

use super::head::CRLF;
use super::swar::{digits, lower};
use crate::key::KeyText;

/// Words that [`name_at_start`] looks at. The longest beginning, `*9999\r\n$24\r\n`, a name and `\r\n`, has 38 bytes.
pub const FIRST_WORDS: usize = 5;

/// The longest count of arguments in digits.
const COUNT_DIGITS: u32 = 4;

/// The longest name in bytes.
const NAME: u32 = 24;

/// `\r\n$`, between a count and a length.
const BEFORE_LENGTH: u64 = u32::from_le_bytes(*b"\r\n$\0") as u64;

/// Returns the hash of the name if the bytes begin an array whose first argument is a name. Bytes that the segment does
/// not have are zeros.
#[must_use]
#[inline(always)]
pub fn name_at_start(words: [u64; FIRST_WORDS]) -> Option<u64> {
    let words = words.map(u64::from_le);
    let first = words[0];
    let count = digits(first >> 8);
    if first as u8 != b'*' || (first >> 8) as u8 == b'0' || count.wrapping_sub(1) >= COUNT_DIGITS {
        return None;
    }
    let words = skip(words, 1 + count);
    let first = words[0];
    let (a, b) = ((first >> 24) as u32 & 15, (first >> 32) as u32 & 15);
    let width = digits(first >> 24);
    let length = if width == 1 { a } else { a * 10 + b };
    if first & 0xff_ffff != BEFORE_LENGTH
        || a == 0
        || width.wrapping_sub(1) > 1
        || length > NAME
        || (first >> (24 + 8 * width)) as u16 != CRLF
    {
        return None;
    }
    hash(skip(words, 5 + width), length)
}

/// Returns the words without their first bytes, 1 to 7.
#[inline(always)]
const fn skip([a, b, c, d, e]: [u64; FIRST_WORDS], bytes: u32) -> [u64; FIRST_WORDS] {
    let (right, left) = (bytes * 8, 64 - bytes * 8);
    [
        a >> right | b << left,
        b >> right | c << left,
        c >> right | d << left,
        d >> right | e << left,
        e >> right,
    ]
}

/// Returns the hash of a name of 1 to 24 bytes if `\r\n` is behind it.
#[inline(always)]
fn hash([a, b, c, d, _]: [u64; FIRST_WORDS], length: u32) -> Option<u64> {
    let mut name = KeyText::NONE;
    let (mut last, mut behind, mut rest) = (a, b, length);
    if length > 8 {
        name.append(lower(a), 8);
        (last, behind, rest) = (b, c, length - 8);
    }
    if length > 16 {
        name.append(lower(b), 8);
        (last, behind, rest) = (c, d, length - 16);
    }
    name.append(lower(last), rest);
    name.end();
    // Two shifts, because a shift by 64 is undefined.
    let end = (last >> (rest * 8 - 8)) >> 8 | behind << (64 - rest * 8);
    (end as u16 == CRLF).then_some(name.hash)
}
