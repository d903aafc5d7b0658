//! Requests in segments that TCP has not accepted yet.
//!
//! The kernel programs see a segment before TCP checks it. TCP may still drop it (checksum, timestamp, memory). A
//! segment's requests therefore wait here until TCP's `rcv_nxt` or an acknowledgement covers the segment. Only one
//! CPU at a time appends. Any CPU may remove a segment: the CPU that advances [`Pending::head`] owns it.

use crate::{key::KeyText, requests::Tally};

/// Maximum number of waiting segments of one connection.
pub const SEGMENTS: usize = 16;

/// Minimum number of keys that can wait on one CPU, a power of two. The loader raises it, because a few clients can
/// send many keys before TCP acknowledges the first.
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
    /// Number of its keys.
    pub keys: u32,
    /// The CPU that staged its keys.
    pub cpu: u32,
    /// Always 0.
    pub padding: u32,
}

/// A waiting key, in the array `STAGED`. A short key uses one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StagedKey {
    /// Its position. A different position means that the slot has been reused.
    pub position: u64,
    /// The key. Only the first [`SHORT_WORDS`](crate::key::SHORT_WORDS) words of a short key are written.
    pub key: KeyText,
    /// A value of the protocol, if the key's tag declares it.
    pub extra: u32,
    padding: u32,
}

/// State of the waiting segments of one connection. Most connections have one waiting segment at a time with at most
/// one key: the single segment. Further segments wait in a [queue](Waiting).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// The single segment's end in the upper half, and one of `SINGLE_*`. It is older than all queued segments.
    pub single: u64,
    /// Number of segments removed from the queue so far.
    pub head: u64,
    /// Number of segments appended to the queue so far.
    pub tail: u64,
    /// The requests of the single segment.
    pub contents: Contents,
}

/// The requests of a single segment, and whether it has a key: [`Waiting::key`]. In one word, because a cache line has
/// few.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents(u64);

/// Bits of each number in [`Contents`]. A segment has fewer bytes.
const CONTENTS_BITS: u32 = 21;

impl Contents {
    /// Packs the requests of a segment of less than 2^21 bytes.
    #[must_use]
    #[inline(always)]
    pub const fn new(tally: Tally, has_key: bool) -> Self {
        let set = (tally.set as u64) << CONTENTS_BITS;
        let control = (tally.control as u64) << (2 * CONTENTS_BITS);
        Self(tally.get as u64 | set | control | (has_key as u64) << 63)
    }

    /// Returns the requests.
    #[must_use]
    #[inline(always)]
    pub const fn tally(self) -> Tally {
        const MASK: u64 = (1 << CONTENTS_BITS) - 1;
        Tally {
            get: (self.0 & MASK) as u32,
            set: (self.0 >> CONTENTS_BITS & MASK) as u32,
            control: (self.0 >> (2 * CONTENTS_BITS) & MASK) as u32,
        }
    }

    /// Returns whether the segment has a key.
    #[must_use]
    #[inline(always)]
    pub const fn has_key(self) -> bool {
        self.0 >> 63 != 0
    }
}

/// No segment waits.
pub const SINGLE_NONE: u64 = 0;
/// The single segment waits.
pub const SINGLE_WAITS: u64 = 1;
/// A CPU counts the single segment. Until it has finished, no program writes its fields.
pub const SINGLE_TAKEN: u64 = 2;

/// The waiting segments' data. It is apart from [`Pending`], which shares a cache line with other state.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// The short key of the single segment, like [`StagedKey::key`].
    pub key: KeyText,
    /// Queued segment `n` is in slot `n` modulo [`SEGMENTS`].
    pub segments: [Segment; SEGMENTS],
}

impl Pending {
    /// Whether no segment waits.
    #[must_use]
    #[inline(always)]
    pub const fn is_empty(&self) -> bool {
        self.head == self.tail && self.single == SINGLE_NONE
    }

    /// Whether no more segments can be queued.
    #[must_use]
    #[inline(always)]
    pub const fn is_full(&self) -> bool {
        self.tail.wrapping_sub(self.head) >= SEGMENTS as u64
    }
}

impl Waiting {
    /// Returns queued segment `number`.
    #[must_use]
    #[inline(always)]
    pub fn segment(&self, number: u64) -> &Segment {
        // The verifier needs the mask. Without `black_box` the compiler computes it elsewhere.
        &self.segments[core::hint::black_box(number) as usize & (SEGMENTS - 1)]
    }

    /// Queues segment `number`. Call it only when the queue is not [full](Pending::is_full).
    #[inline(always)]
    pub fn queue(&mut self, number: u64, segment: Segment) {
        self.segments[core::hint::black_box(number) as usize & (SEGMENTS - 1)] = segment;
    }
}

/// Returns [`Pending::single`] for a segment that waits and ends at `end`.
#[must_use]
#[inline(always)]
pub const fn single_waits(end: u32) -> u64 {
    (end as u64) << 32 | SINGLE_WAITS
}
