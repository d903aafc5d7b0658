//! Ordinary reads, told at a glance: a client says the same behind the key again and again.
//!
//! [`Ending`] keeps what stood behind the key of a read, byte by byte, once the parser has found that it completes the
//! read and leads to the first byte of the next request. The parser depends on nothing but its state and the bytes: in
//! the same state, before the same bytes, it would come to the same end. So a segment that begins where a request begins
//! and holds `GET /data/`, a plain key, these bytes, and nothing else is one complete read, and is not parsed again.

use crate::{
    head::{Head, Tally, begins_read, is_plain_key},
    scan::Scan,
};

/// Words of an ending that can be kept: 128 bytes.
const ENDING_WORDS: usize = 16;

/// Words of an ordinary read's key, at most: 40 bytes.
const KEY_WORDS: usize = 5;

/// Where the key begins.
const KEY_AT: u32 = 10;

/// What stood behind the key, from the space on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    words: [u64; ENDING_WORDS],
    /// Bytes; 0 when none has been kept yet.
    length: u32,
    padding: u32,
}

impl Ending {
    /// Nothing yet.
    pub const EMPTY: Self = Self { words: [0; ENDING_WORDS], length: 0, padding: 0 };
}

impl Scan {
    /// Whether the parser is where an ordinary read begins, and the segment's new bytes fit into the window. If so, load
    /// the window and try [`ordinary`](Self::ordinary).
    #[must_use]
    #[inline(always)]
    pub const fn may_be_ordinary(&self, head: &Head) -> bool {
        head.is_at_first_byte() && self.fits_window()
    }

    /// Reads the segment, all of it in the window, if it is an ordinary read. Then [`Scan::key`] is to be counted, and nothing more
    /// to be read. If not, it is to be read by steps.
    #[inline(always)]
    pub fn ordinary(&mut self) -> bool {
        self.ordinary_by(Self::take_key)
    }

    /// The same with a driver's own way to [`take_key`](Self::take_key).
    #[inline(always)]
    pub fn ordinary_by(&mut self, take_key: impl FnOnce(&mut Self, u32) -> bool) -> bool {
        let key_length = self.window_length().wrapping_sub(KEY_AT).wrapping_sub(self.ending.length);
        // Neither a key of no bytes nor one of less than none.
        let is_key = key_length.wrapping_sub(1) < KEY_WORDS as u32 * 8 && self.ending.length > 0;
        if !is_key || !begins_read(self.words[0], self.words[1]) || !self.ends_alike(key_length) {
            return false;
        }
        if !take_key(self, key_length) {
            return false;
        }
        self.tally.get += 1;
        self.ends();
        true
    }

    /// Takes a key of that many bytes (1 to 40) out of the window; `false` if it is no plain one.
    #[inline(always)]
    pub fn take_key(&mut self, length: u32) -> bool {
        self.key.begin();
        let is_plain = self.key_word::<0>(length)
            && self.key_word::<1>(length)
            && self.key_word::<2>(length)
            && self.key_word::<3>(length)
            && self.key_word::<4>(length);
        if is_plain {
            self.key.end();
        }
        is_plain
    }

    /// Keeps the ending of a segment that [`may_be_ordinary`](Self::may_be_ordinary) and has been read by steps.
    #[inline(always)]
    pub fn remember(&mut self, head: &Head) {
        let key_length = head.key.length;
        let length = self.window_length().wrapping_sub(KEY_AT).wrapping_sub(key_length);
        let is_one_read = self.tally == (Tally { get: 1, set: 0, control: 0 });
        if !is_one_read
            || !self.is_done()
            || !head.is_at_first_byte()
            || !begins_read(self.words[0], self.words[1])
            || key_length.wrapping_sub(1) >= KEY_WORDS as u32 * 8
            || length.wrapping_sub(1) >= ENDING_WORDS as u32 * 8
        {
            return;
        }
        let (index, shift) = ending_at(key_length);
        let first = self.words[index] >> shift;
        if first as u8 != b' ' {
            return;
        }
        let mut low = first;
        for at in 0..ENDING_WORDS {
            let next = self.words[index + at + 1];
            self.ending.words[at] = low | (next << 1) << (63 - shift);
            low = next >> shift;
        }
        self.ending.length = length;
    }

    /// Takes a word of the key, if it has so many; `false` if it is no plain key. (A loop would be one at run time, with
    /// places in memory that vary.)
    #[inline(always)]
    fn key_word<const AT: usize>(&mut self, key_length: u32) -> bool {
        const { assert!(AT < KEY_WORDS) };
        if key_length <= AT as u32 * 8 {
            return true;
        }
        let left = key_length - AT as u32 * 8;
        let count = if left < 8 { left } else { 8 };
        let word = (self.words[AT + 1] >> 16) | (self.words[AT + 2] << 48);
        if !is_plain_key(word, count) {
            return false;
        }
        self.key.append(word, count);
        true
    }

    /// Whether what is behind the key is the ending, as long as that is.
    #[inline(always)]
    fn ends_alike(&self, key_length: u32) -> bool {
        let (index, shift) = ending_at(key_length);
        let mut low = self.words[index] >> shift;
        for at in 0..ENDING_WORDS {
            let next = self.words[index + at + 1];
            let different = (low | (next << 1) << (63 - shift)) ^ self.ending.words[at];
            low = next >> shift;
            let left = self.ending.length.wrapping_sub(at as u32 * 8);
            if left <= 8 {
                // What is behind the ending does not matter.
                return different << (64_u32.wrapping_sub(left * 8) & 63) == 0;
            }
            if different != 0 {
                return false;
            }
        }
        false
    }
}

/// The word of the window in which the key's end is, and how many bits of it are the key's.
#[inline(always)]
fn ending_at(key_length: u32) -> (usize, u32) {
    let at = KEY_AT + key_length;
    // The verifier needs the mask; without `black_box` the compiler, knowing the bound, takes it away. In 64 bits: without
    // CAP_PERFMON the verifier of 6.1 takes no shorter word where a pointer has been on the stack.
    ((core::hint::black_box(at as u64) / 8) as usize & 7, at % 8 * 8)
}

const _: () = assert!((KEY_AT as usize + KEY_WORDS * 8) / 8 <= 7);
