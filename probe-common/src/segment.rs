//! Reads one segment's payload window by window and passes it to the protocol's parser.
//!
//! A kernel program cannot access payload directly. A driver copies it window by window into [`SegmentReader::words`]
//! and calls [`SegmentReader::step`] until the result is [`Next::Done`]. All mutable state is behind one pointer: on
//! the stack the verifier would track each value and never finish.

use crate::{
    key::KeyText,
    protocol::{Parser, Protocol},
    requests::Tally,
};

/// Bytes of payload in a window. A usual request head fits into one.
pub const WINDOW: usize = 256;

const WORDS: usize = WINDOW / 8;

/// The driver's next task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Call [`SegmentReader::step`] again.
    Step,
    /// Copy [`SegmentReader::wanted`] bytes from payload offset [`SegmentReader::at`] to [`SegmentReader::words`], call
    /// [`SegmentReader::loaded`], then step again.
    Load,
    /// The parser [needs the driver](Parser::needs_driver). Then step again.
    Driver,
    /// The segment has been read, or the parser has stopped.
    Done,
}

/// A place in one segment. Kept in a per-CPU map: too large for a kernel program's stack.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SegmentReader<P: Protocol> {
    /// The window, with bytes in memory order. The last word is only read together with the one before it.
    pub words: [u64; WORDS + 1],
    /// Requests completed in this segment.
    pub tally: Tally,
    /// Offset of the next byte, from the payload's first.
    pub at: u32,
    /// Length of the payload.
    pub end: u32,
    /// Offset of the window's first byte.
    window_at: u32,
    /// Bytes in the window.
    window_length: u32,
    /// 1 once the segment is finished.
    done: u32,
    /// For the driver: the shard of the payload.
    pub shard: u32,
    /// For the driver: the number of keys staged for this segment.
    pub staged: u32,
    padding: u32,
    /// For the driver: the position of the first staged key.
    pub staged_at: u64,
    /// For the driver: the arrival time, in nanoseconds of the kernel's monotonic clock.
    pub came_at: u64,
    /// The key of a read on the fast path. It is not in the connection's parser, which is rarely in a CPU cache.
    pub key: KeyText,
    /// State of the fast path, kept between segments.
    pub(crate) cache: P::Cache,
}

impl<P: Protocol> SegmentReader<P> {
    /// A reader that has read nothing.
    pub const EMPTY: Self = Self {
        words: [0; WORDS + 1],
        tally: Tally { get: 0, set: 0, control: 0 },
        at: 0,
        end: 0,
        window_at: 0,
        window_length: 0,
        done: 0,
        shard: 0,
        staged: 0,
        padding: 0,
        staged_at: 0,
        came_at: 0,
        key: KeyText::NONE,
        cache: P::EMPTY_CACHE,
    };

    /// Starts on a segment of `end` payload bytes, of which the first `skip` are old.
    #[inline(always)]
    pub const fn begin(&mut self, skip: u32, end: u32) {
        self.tally.get = 0;
        self.tally.set = 0;
        self.tally.control = 0;
        self.at = skip;
        self.end = end;
        self.window_at = skip;
        self.window_length = 0;
        self.done = 0;
        self.staged = 0;
    }

    /// Returns the number of bytes that the driver should copy, at most [`WINDOW`].
    #[must_use]
    #[inline(always)]
    pub const fn wanted(&self) -> u32 {
        let left = self.end.wrapping_sub(self.at);
        if left < WINDOW as u32 { left } else { WINDOW as u32 }
    }

    /// Records that `length` bytes from [`at`](Self::at) on are in [`words`](Self::words).
    #[inline(always)]
    pub const fn loaded(&mut self, length: u32) {
        self.window_at = self.at;
        self.window_length = length;
    }

    /// Whether the rest of the segment fits into the window.
    #[inline(always)]
    pub(crate) const fn fits_window(&self) -> bool {
        self.end.wrapping_sub(self.at) <= WINDOW as u32
    }

    /// Bytes in the window.
    #[inline(always)]
    pub(crate) const fn window_length(&self) -> u32 {
        self.window_length
    }

    /// Offset of the window's first byte.
    #[inline(always)]
    pub(crate) const fn window_at(&self) -> u32 {
        self.window_at
    }

    /// The segment has been read.
    #[inline(always)]
    pub(crate) const fn ends(&mut self) {
        self.at = self.end;
        self.done = 1;
    }

    /// Whether all readable bytes have been read.
    #[must_use]
    #[inline(always)]
    pub const fn is_done(&self) -> bool {
        self.done != 0
    }

    /// Runs one step of the connection's parser.
    #[inline(always)]
    pub fn step(&mut self, head: &mut impl Parser) -> Next {
        if head.needs_driver() {
            return Next::Driver;
        }
        if self.at >= self.end || head.stopped().is_some() {
            self.done = 1;
            return Next::Done;
        }
        if head.body() > 0 {
            self.at += head.skip_body(self.end - self.at, &mut self.tally);
            return Next::Step;
        }
        let offset = self.at.wrapping_sub(self.window_at);
        let Some(available) = self.window_length.checked_sub(offset).filter(|left| *left > 0) else {
            return Next::Load;
        };
        let word = self.word_at(offset);
        let available = if available < 8 { available } else { 8 };
        self.at += head.step(word, available, &mut self.tally);
        Next::Step
    }

    /// Reads a segment as the kernel program does, in at most `steps` steps. Calls `attend` when the parser needs the
    /// driver.
    #[cfg(not(target_arch = "bpf"))]
    pub(crate) fn drive<H: Parser>(
        &mut self,
        head: &mut H,
        payload: &[u8],
        steps: u32,
        mut attend: impl FnMut(&mut Self, &mut H),
    ) {
        for _ in 0..steps {
            match self.step(head) {
                Next::Step => {}
                Next::Driver => attend(self, head),
                Next::Done => return,
                Next::Load => self.load(payload),
            }
        }
    }

    #[cfg(not(target_arch = "bpf"))]
    pub(crate) fn load(&mut self, payload: &[u8]) {
        let length = self.wanted();
        let from = payload.get(self.at as usize..).unwrap_or_default();
        let window = from.get(..length as usize).unwrap_or(from);
        for (word, bytes) in self.words.iter_mut().zip(window.chunks(8)) {
            // Bytes after the window's end keep their old values. The parser must not read them.
            let mut memory = word.to_ne_bytes();
            for (old, new) in memory.iter_mut().zip(bytes) {
                *old = *new;
            }
            *word = u64::from_ne_bytes(memory);
        }
        self.loaded(length);
    }

    /// The eight bytes at `offset` of the window, lowest first. Two aligned reads: the kernel's instruction set has
    /// unaligned ones, but its compiler splits them into bytes.
    #[inline(always)]
    pub(crate) fn word_at(&self, offset: u32) -> u64 {
        // The verifier needs the mask. Without `black_box` the compiler infers the bound and removes it.
        let index = (core::hint::black_box(offset) as usize / 8) & (WORDS - 1);
        let shift = (offset % 8) * 8;
        let low = self.words.get(index).map_or(0, |word| u64::from_le(*word) >> shift);
        // Two shifts, because a shift by 64 is undefined.
        let high = self.words.get(index + 1).map_or(0, |word| (u64::from_le(*word) << 1) << (63 - shift));
        low | high
    }
}
