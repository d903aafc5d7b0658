//! The first bytes of a segment: whether a command begins there.
//!
//! A value may contain what looks like the beginning of a command. Parsing therefore resumes only at an array of at
//! most nine arguments whose first is the name of a command of the store.

use super::head::{START_MASK, START_WORD};
use super::swar::lower;
use crate::key::KeyText;

/// Words that [`name_at_start`] looks at.
pub const FIRST_WORDS: usize = 3;

/// Returns the hash of the name if the bytes begin an array whose first argument is a name of at most nine bytes.
#[must_use]
#[inline(always)]
pub fn name_at_start(words: [u64; FIRST_WORDS]) -> Option<u64> {
    let [first, low, high] = words.map(u64::from_le);
    let (count, length) = ((first >> 8) as u8 & 15, (first >> 40) as u8 & 15);
    if first & START_MASK != START_WORD || count.wrapping_sub(1) > 8 || length.wrapping_sub(1) > 8 {
        return None;
    }
    let mut name = KeyText::NONE;
    name.append(lower(low), if length < 8 { length as u32 } else { 8 });
    if length > 8 {
        name.append(lower(high), 1);
    }
    name.end();
    Some(name.hash)
}
