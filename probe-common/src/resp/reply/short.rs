//! Short numbers and short replies at a single look.

use super::{CRLF, FIVE_BYTES, NULL_STRING, QUEUED};
use crate::resp::swar::before_line_end;

/// Returns a number of one to three digits behind the first byte, and the length of its line.
#[inline(always)]
pub(super) const fn short_number(word: u64, available: u32) -> Option<(u32, u32)> {
    let (a, b, c) = (
        ((word >> 8) as u8).wrapping_sub(b'0') as u32,
        ((word >> 16) as u8).wrapping_sub(b'0') as u32,
        ((word >> 24) as u8).wrapping_sub(b'0') as u32,
    );
    if a >= 10 {
        None
    } else if available >= 4 && (word >> 16) as u16 == CRLF {
        Some((a, 4))
    } else if b >= 10 {
        None
    } else if available >= 5 && (word >> 24) as u16 == CRLF {
        Some((a * 10 + b, 5))
    } else if c < 10 && available >= 6 && (word >> 32) as u16 == CRLF {
        Some((a * 100 + b * 10 + c, 6))
    } else {
        None
    }
}

/// Bytes that [`is_whole_reply`] looks at.
pub const SHORT_REPLY: usize = 32;

/// Whether a payload of `length` bytes with these first bytes is exactly one reply, and not `QUEUED`. A short look: `false`
/// says nothing.
#[must_use]
#[inline(always)]
pub fn is_whole_reply(words: &[u64; SHORT_REPLY / 8], length: u32) -> bool {
    let first = u64::from_le(words[0]);
    match first as u8 {
        b'$' => {
            if first & FIVE_BYTES == NULL_STRING {
                return length == 5;
            }
            short_number(first, if length < 8 { length } else { 8 })
                .is_some_and(|(bytes, used)| length == used + bytes + 2)
        }
        b'+' | b'-' | b':' | b'_' | b',' | b'#' => {
            let mut before = 0;
            for word in words {
                let here = before_line_end(u64::from_le(*word));
                before += here;
                if here < 8 {
                    return before + 1 == length && first != QUEUED;
                }
            }
            false
        }
        _ => false,
    }
}
