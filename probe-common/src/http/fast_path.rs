//! Fast path: recognises a read that differs only in its key.
//!
//! The bytes after the key of a read are cached once the parser has found that they complete the read and lead to the
//! first byte of the next request. The parser's result depends only on its state and the bytes. In the same state, the
//! same bytes lead to the same result. A segment is therefore one complete read if it starts at a request's first byte
//! and consists of `GET /data/`, a plain key and the cached bytes. Such a segment is not parsed again.

use super::SegmentReader;
use super::cached_bytes::CACHED_WORDS;
use super::head::{Head, begins_read, is_plain_key};
#[cfg(not(target_arch = "bpf"))]
use crate::key::KeyText;
use crate::{key::SHORT_WORDS, protocol::Parser, requests::Tally};

/// Words of the longest key on the fast path: 40 bytes.
const KEY_WORDS: usize = SHORT_WORDS;

/// Position of the key's first byte.
const KEY_AT: u32 = 10;

impl SegmentReader {
    /// Whether the parser is at a request's first byte and the segment's new bytes fit into the window. If so, load the
    /// window and call [`try_fast_path`](Self::try_fast_path).
    #[must_use]
    #[inline(always)]
    pub fn may_take_fast_path(&self, head: &Head) -> bool {
        head.is_at_first_byte() && self.fits_window()
    }

    /// Counts the segment and returns `true` if it is one read with the cached tail. The caller then counts
    /// [`SegmentReader::key`]. Otherwise the caller parses the segment step by step.
    #[inline(always)]
    pub fn try_fast_path(&mut self) -> bool {
        let key_length = self.window_length().wrapping_sub(KEY_AT).wrapping_sub(self.cache.length);
        // One comparison rejects an empty key and a negative length.
        let is_key = key_length.wrapping_sub(1) < KEY_WORDS as u32 * 8 && self.cache.length > 0;
        if !is_key || !begins_read(self.words[0], self.words[1]) || !self.tail_matches(key_length) {
            return false;
        }
        if !self.copy_key(key_length) {
            return false;
        }
        self.tally.get += 1;
        self.ends();
        true
    }

    /// Reads a whole segment as the kernel program does, in at most `steps` steps, with
    /// [`begin`](crate::segment::SegmentReader::begin) before. Hands `on_key` the key of each read.
    #[cfg(not(target_arch = "bpf"))]
    pub fn read(&mut self, head: &mut Head, payload: &[u8], steps: u32, mut on_key: impl FnMut(&KeyText)) {
        let may_take_fast_path = self.may_take_fast_path(head);
        if may_take_fast_path {
            self.load(payload);
            if self.try_fast_path() {
                on_key(&self.key);
                return;
            }
        }
        self.read_by_steps(head, payload, steps, on_key);
        if may_take_fast_path {
            self.cache_tail(head);
        }
    }

    /// The same step by step, whatever is in the segment.
    #[cfg(not(target_arch = "bpf"))]
    pub fn read_by_steps(
        &mut self,
        head: &mut Head,
        payload: &[u8],
        steps: u32,
        mut on_key: impl FnMut(&KeyText),
    ) {
        self.drive(head, payload, steps, |_, head| {
            on_key(&head.key);
            head.key_taken();
        });
    }

    /// Copies a key of `length` bytes (1 to 40) from the window. Returns `false` if the key is not plain.
    #[inline(always)]
    fn copy_key(&mut self, length: u32) -> bool {
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

    /// Caches the tail of a segment that was parsed step by step although it [might have taken the fast
    /// path](Self::may_take_fast_path).
    #[inline(always)]
    pub fn cache_tail(&mut self, head: &Head) {
        let key_length = head.key.length;
        let length = self.window_length().wrapping_sub(KEY_AT).wrapping_sub(key_length);
        let is_one_read = self.tally == (Tally { get: 1, set: 0, control: 0 });
        if !is_one_read
            || !self.is_done()
            || !head.is_at_first_byte()
            || !begins_read(self.words[0], self.words[1])
            || key_length.wrapping_sub(1) >= KEY_WORDS as u32 * 8
            || length.wrapping_sub(1) >= CACHED_WORDS as u32 * 8
        {
            return;
        }
        let (index, shift) = tail_position(key_length);
        let first = self.words[index] >> shift;
        if first as u8 != b' ' {
            return;
        }
        let mut low = first;
        for at in 0..CACHED_WORDS {
            let next = self.words[index + at + 1];
            self.cache.words[at] = low | (next << 1) << (63 - shift);
            low = next >> shift;
        }
        self.cache.length = length;
    }

    /// Copies one word of the key, if the key is that long. Returns `false` if the word is not plain.
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

    /// Whether the bytes after the key equal the cached tail.
    #[inline(always)]
    fn tail_matches(&self, key_length: u32) -> bool {
        let (index, shift) = tail_position(key_length);
        let mut low = self.words[index] >> shift;
        for at in 0..CACHED_WORDS {
            let next = self.words[index + at + 1];
            let different = (low | (next << 1) << (63 - shift)) ^ self.cache.words[at];
            low = next >> shift;
            let left = self.cache.length.wrapping_sub(at as u32 * 8);
            if left <= 8 {
                // Bytes after the tail do not matter.
                return different << (64_u32.wrapping_sub(left * 8) & 63) == 0;
            }
            if different != 0 {
                return false;
            }
        }
        false
    }
}

/// Returns the index of the window's word in which the key ends, and the number of its bits that belong to the key.
#[inline(always)]
fn tail_position(key_length: u32) -> (usize, u32) {
    let at = KEY_AT + key_length;
    // The verifier needs the mask. Without `black_box` the compiler infers the bound and removes the mask.
    ((core::hint::black_box(at) / 8) as usize & 7, at % 8 * 8)
}

const _: () = assert!((KEY_AT as usize + KEY_WORDS * 8) / 8 <= 7);
