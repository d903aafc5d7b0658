//! Requests that have arrived in segments which TCP has not accepted yet.
//!
//! The kernel programs see a segment before TCP checks it: TCP may still drop it (checksum, timestamp, memory). So the
//! requests of a segment wait here until TCP's `rcv_nxt`, or an acknowledgement, covers the segment. One CPU at a time
//! appends. Any CPU takes: the one that moves [`Pending::head`] owns the segment.

use crate::{head::Tally, key::KeyText};

/// Segments of one connection that can wait.
pub const SEGMENTS: usize = 16;

/// Keys of one CPU that can wait, beside one for each connection.
pub const STAGED_KEYS: u32 = 4096;

/// One segment that waits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The sequence number behind its last byte.
    pub end: u32,
    /// Its requests.
    pub tally: Tally,
    /// Position of its first key among those that `cpu` has staged.
    pub keys_at: u32,
    /// Its keys. One that is [`Pending::key`] is not staged: then `cpu` is [`INLINE`].
    pub keys: u32,
    /// The CPU that staged its keys.
    pub cpu: u32,
    /// Always 0.
    pub padding: u32,
}

/// Instead of a CPU's number: the key is [`Pending::key`].
pub const INLINE: u32 = u32::MAX;

/// A key that waits, in the array `STAGED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StagedKey {
    /// The key.
    pub key: KeyText,
    /// Its position: another one means that the place has been reused.
    pub position: u64,
}

/// The segments of one connection that wait, oldest first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Segments ever taken.
    pub head: u64,
    /// Segments ever appended.
    pub tail: u64,
    /// 1 while a CPU counts [`Self::key`]: then it must not be written.
    pub key_in_use: u64,
    /// The only key of the oldest segment, if that is its only one.
    pub key: KeyText,
    /// Segment `n` is at `n` modulo [`SEGMENTS`].
    pub segments: [Segment; SEGMENTS],
}

impl Pending {
    /// Whether nothing waits.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Whether no further segment can wait.
    #[must_use]
    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.tail.wrapping_sub(self.head) >= SEGMENTS as u64
    }

    /// Segment `number`.
    #[must_use]
    #[inline(always)]
    pub fn segment(&self, number: u64) -> &Segment {
        // The verifier needs the mask; without `black_box` the compiler computes it elsewhere.
        &self.segments[core::hint::black_box(number) as usize & (SEGMENTS - 1)]
    }

    /// Appends a segment; call it only when not [full](Self::is_full).
    #[inline(always)]
    pub fn append(&mut self, segment: Segment) {
        self.segments[core::hint::black_box(self.tail) as usize & (SEGMENTS - 1)] = segment;
    }
}
