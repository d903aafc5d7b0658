//! Requests in segments that TCP has not accepted yet.
//!
//! The kernel programs see a segment before TCP checks it. TCP may still drop it (checksum, timestamp, memory). A
//! segment's requests therefore wait here until TCP's `rcv_nxt` or an acknowledgement covers the segment. Only one
//! CPU at a time appends. Any CPU may remove a segment: the CPU that advances [`Pending::head`] owns it.

use crate::{key::KeyText, requests::Tally};

/// Maximum number of waiting segments of one connection.
pub const SEGMENTS: usize = 16;

/// Maximum number of keys that wait on one CPU, in addition to one key for each connection.
pub const STAGED_KEYS: u32 = 4096;

/// One waiting segment.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The sequence number after its last byte.
    pub end: u32,
    /// Its requests.
    pub tally: Tally,
    /// Position of its first key among the keys that `cpu` has staged.
    pub keys_at: u32,
    /// Number of its keys. A key in [`Pending::key`] is not staged. In that case `cpu` is [`INLINE`].
    pub keys: u32,
    /// The CPU that staged its keys.
    pub cpu: u32,
    /// Always 0.
    pub padding: u32,
}

/// Replaces a CPU number when the key is in [`Pending::key`].
pub const INLINE: u32 = u32::MAX;

/// A waiting key, in the array `STAGED`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StagedKey {
    /// The key.
    pub key: KeyText,
    /// Its position. A different position means that the slot has been reused.
    pub position: u64,
}

/// The waiting segments of one connection, oldest first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Number of segments removed so far.
    pub head: u64,
    /// Number of segments appended so far.
    pub tail: u64,
    /// 1 while a CPU counts [`Self::key`]: then it must not be written.
    pub key_in_use: u64,
    /// The key of the oldest segment, if it has exactly one key.
    pub key: KeyText,
    /// Segment `n` is in slot `n` modulo [`SEGMENTS`].
    pub segments: [Segment; SEGMENTS],
}

impl Pending {
    /// Whether no segment waits.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Whether no more segments can wait.
    #[must_use]
    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.tail.wrapping_sub(self.head) >= SEGMENTS as u64
    }

    /// Returns segment `number`.
    #[must_use]
    #[inline(always)]
    pub fn segment(&self, number: u64) -> &Segment {
        // The verifier needs the mask. Without `black_box` the compiler computes it elsewhere.
        &self.segments[core::hint::black_box(number) as usize & (SEGMENTS - 1)]
    }

    /// Appends a segment. Call it only when the list is not [full](Self::is_full).
    #[inline(always)]
    pub fn append(&mut self, segment: Segment) {
        self.segments[core::hint::black_box(self.tail) as usize & (SEGMENTS - 1)] = segment;
    }
}
