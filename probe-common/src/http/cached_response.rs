//! Recognises a response whose head equals the previous one.
//!
//! The parser's result depends only on its state and the bytes. At the first byte of a response, the same head leads to
//! the same body length. Such a head is skipped in one step.

use super::SegmentReader;
use super::cached_bytes::CACHED_WORDS;
use super::head::ResponseHead;
use crate::{protocol::Parser, segment::Next};

/// Whether the response at hand begins with the cached head.
enum Cached {
    /// It does. The response is counted, and its head skipped.
    Skipped,
    /// The window ends before the head may end.
    NeedsLoad,
    /// It does not.
    Differs,
}

/// [`CachedBytes::response_at`](super::cached_bytes::CachedBytes) while no response has begun in the segment.
const NOT_HERE: u32 = u32::MAX;

impl SegmentReader {
    /// Like [`SegmentReader::begin`](crate::segment::SegmentReader::begin), for responses.
    #[inline(always)]
    pub fn begin_responses(&mut self, skip: u32, end: u32) {
        self.begin(skip, end);
        self.cache.response_at = NOT_HERE;
    }

    /// Like [`SegmentReader::step`](crate::segment::SegmentReader::step), for responses. After [`Next::Driver`] call
    /// [`Self::cache_response`], then step again.
    #[inline(always)]
    pub fn step_response(&mut self, head: &mut ResponseHead) -> Next {
        if head.is_at_first_byte() {
            match self.skip_cached_response(head) {
                Cached::Skipped => return Next::Step,
                Cached::NeedsLoad => return Next::Load,
                Cached::Differs => self.cache.response_at = self.at,
            }
        }
        let finals = self.tally.set;
        let next = self.step(head);
        if self.tally.set == finals { next } else { Next::Driver }
    }

    /// Compares the next bytes with the cached head.
    #[inline(always)]
    fn skip_cached_response(&mut self, head: &mut ResponseHead) -> Cached {
        let length = self.cache.length;
        let offset = self.at.wrapping_sub(self.window_at());
        let available = self.window_length().saturating_sub(offset);
        if length == 0 || available == 0 {
            return Cached::Differs;
        }
        if available < length {
            // A window that begins here is as large as it can be.
            let has_more = offset > 0 && self.end.wrapping_sub(self.at) > available;
            return if has_more { Cached::NeedsLoad } else { Cached::Differs };
        }
        for at in 0..CACHED_WORDS {
            let different = self.word_at(offset + at as u32 * 8) ^ self.cache.words[at];
            let left = length.wrapping_sub(at as u32 * 8);
            if left <= 8 {
                // Bytes after the head do not matter.
                if different << (64_u32.wrapping_sub(left * 8) & 63) != 0 {
                    return Cached::Differs;
                }
                break;
            }
            if different != 0 {
                return Cached::Differs;
            }
        }
        self.at += length;
        self.tally.set += 1;
        head.skip_to_body(self.cache.body);
        Cached::Skipped
    }

    /// Caches the head that has just ended, if another response can follow and all of the head is in the window. The end
    /// of a head that began in an earlier segment is not cached.
    #[inline(always)]
    pub fn cache_response(&mut self, head: &ResponseHead) {
        let from = self.cache.response_at;
        let (offset, length) = (from.wrapping_sub(self.window_at()), self.at.wrapping_sub(from));
        let is_in_window =
            from != NOT_HERE && from >= self.window_at() && length.wrapping_sub(1) < CACHED_WORDS as u32 * 8;
        let Some(body) = head.body_before_response().filter(|_| is_in_window) else { return };
        for at in 0..CACHED_WORDS {
            self.cache.words[at] = self.word_at(offset + at as u32 * 8);
        }
        self.cache.length = length;
        self.cache.body = body;
    }

    /// Reads a whole segment as the kernel program does. [`tally`](crate::segment::SegmentReader::tally) has the
    /// result.
    #[cfg(not(target_arch = "bpf"))]
    pub fn read_responses(&mut self, head: &mut ResponseHead, payload: &[u8], steps: u32) {
        for _ in 0..steps {
            match self.step_response(head) {
                Next::Step => {}
                Next::Driver => self.cache_response(head),
                Next::Done => return,
                Next::Load => self.load(payload),
            }
        }
    }
}
