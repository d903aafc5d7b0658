//! Signal `latency`: log-linear buckets.
//!
//! Each octave (a doubling) is cut into eight buckets of equal width, so that none is wider than an eighth of its lower
//! bound. Octaves begin at whole powers of two of microseconds, from 1 µs to 2^26 µs (67 s); one more bucket lies below
//! them and one above. The same idea as in HdrHistogram.

use core::ops::AddAssign;

/// Buckets of an octave.
const BUCKETS_AN_OCTAVE: usize = 8;

/// Doublings from 1 µs on.
const OCTAVES: usize = 26;

/// All buckets: the one below 1 µs, those of the octaves, the one above.
pub const BUCKETS: usize = OCTAVES * BUCKETS_AN_OCTAVE + 2;

/// Length of the array that holds them: as many as a byte has values, so that a byte is an index inside.
pub const SLOTS: usize = 256;

/// The width of the first octave's buckets, in nanoseconds.
const UNIT: u64 = 125;

/// Value of the per-CPU arrays `LATENCY` (requests) and `RTT` (round trips); the index is the shard. Monotonic since
/// attach.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// What was timed, by bucket; those from [`BUCKETS`] on stay 0.
    pub buckets: [u64; SLOTS],
    /// All their durations together, in nanoseconds.
    pub sum: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self { buckets: [0; SLOTS], sum: 0 }
    }
}

/// The bucket of a duration in nanoseconds: below [`BUCKETS`].
#[must_use]
#[inline(always)]
pub const fn bucket(nanoseconds: u64) -> u32 {
    let units = nanoseconds / UNIT;
    if units < BUCKETS_AN_OCTAVE as u64 {
        return 0;
    }
    // The highest four bits: a one, and which eighth of the octave.
    let octave = 60 - units.leading_zeros();
    let eighth = (units >> octave) as u32 & 7;
    let index = 1 + octave * BUCKETS_AN_OCTAVE as u32 + eighth;
    if index < BUCKETS as u32 { index } else { BUCKETS as u32 - 1 }
}

/// The upper bound of a bucket in nanoseconds: all its durations are below it. `None` for the last, which has none.
#[must_use]
pub const fn upper_bound(bucket: usize) -> Option<u64> {
    if bucket + 1 >= BUCKETS {
        return None;
    }
    let (octave, eighth) = (bucket / BUCKETS_AN_OCTAVE, bucket % BUCKETS_AN_OCTAVE);
    Some(((BUCKETS_AN_OCTAVE + eighth) as u64 * UNIT) << octave)
}

impl Latency {
    /// How many were timed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The bucket that holds the one at this place when ordered by duration, counted from 1; `None` if there are
    /// fewer.
    #[must_use]
    pub fn bucket_of(&self, place: u64) -> Option<usize> {
        let mut below = 0;
        self.buckets.iter().position(|count| {
            below += count;
            place > 0 && below >= place
        })
    }
}

/// Adds another CPU's share.
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
