//! Signal `latency`: log-linear buckets.
//!
//! Each octave (a doubling) has eight buckets of equal width. A bucket is therefore at most one eighth as wide as its
//! lower bound. Octaves begin at powers of two of microseconds, from 1 µs to 2^26 µs (67 s). One more bucket lies
//! below the octaves and one above. HdrHistogram uses the same scheme.

use core::ops::AddAssign;

/// Buckets in each octave.
const BUCKETS_AN_OCTAVE: usize = 8;

/// Octaves from 1 µs on.
const OCTAVES: usize = 26;

/// Number of buckets: one below 1 µs, those of the octaves, and one above.
pub const BUCKETS: usize = OCTAVES * BUCKETS_AN_OCTAVE + 2;

/// Length of the bucket array. A byte has as many values, so a byte is always a valid index.
pub const SLOTS: usize = 256;

/// Width of the first octave's buckets, in nanoseconds.
const UNIT: u64 = 125;

/// Value of the per-CPU arrays `LATENCY` (requests) and `RTT` (round trips). The index is the shard. Monotonic since
/// attach.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Durations by bucket. Slots from [`BUCKETS`] on stay 0.
    pub buckets: [u64; SLOTS],
    /// Sum of all durations, in nanoseconds.
    pub sum: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: [0; SLOTS], sum: 0 }
    }
}

/// Returns the bucket of a duration in nanoseconds, below [`BUCKETS`].
#[must_use]
#[inline(always)]
pub const fn bucket(nanoseconds: u64) -> u32 {
    let units = nanoseconds / UNIT;
    if units < BUCKETS_AN_OCTAVE as u64 {
        return 0;
    }
    // The highest four bits: a one, and the number of the bucket in the octave.
    let octave = 60 - units.leading_zeros();
    let eighth = (units >> octave) as u32 & 7;
    let index = 1 + octave * BUCKETS_AN_OCTAVE as u32 + eighth;
    if index < BUCKETS as u32 { index } else { BUCKETS as u32 - 1 }
}

/// Returns the exclusive upper bound of a bucket in nanoseconds. `None` for the last bucket, which is unbounded.
#[must_use]
pub const fn upper_bound(bucket: usize) -> Option<u64> {
    if bucket + 1 >= BUCKETS {
        return None;
    }
    let (octave, eighth) = (bucket / BUCKETS_AN_OCTAVE, bucket % BUCKETS_AN_OCTAVE);
    Some(((BUCKETS_AN_OCTAVE + eighth) as u64 * UNIT) << octave)
}

impl Latency {
    /// Returns the number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the bucket of the duration with this rank, counted from 1 in ascending order. `None` if there are
    /// fewer durations.
    #[must_use]
    pub fn bucket_of(&self, place: u64) -> Option<usize> {
        let mut below = 0_u64;
        self.buckets.iter().position(|count| {
            below = below.saturating_add(*count);
            place > 0 && below >= place
        })
    }
}

/// Adds another CPU's counters.
impl AddAssign<&Self> for Latency {
    fn add_assign(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine = mine.wrapping_add(theirs);
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, `u64` only, no padding.
unsafe impl aya::Pod for Latency {}
