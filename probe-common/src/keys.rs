//! Signal `keys`: reads by key, in a table of fixed size.
//!
//! A key's hash selects one of the shard's sets. A set has eight entries. The table follows Space-Saving (Metwally,
//! Agrawal, El Abbadi 2005): a new key replaces the entry of lowest rank and inherits its rank. It differs in one
//! point. A read of a key in the table raises the key's rank by [`RETURN`] instead of one. Keys with repeated reads
//! therefore stay, and keys with one read each, however many, do not displace them. Every [`EPOCH_SHIFT`] all ranks
//! are halved, so that keys that are no longer read leave. `docs/experiments/2026-11-23-keys.md` compares this
//! algorithm with others.
//!
//! Reported counts do not depend on ranks. `count` is exact since the key entered the table. `error` is an upper
//! bound of the key's earlier reads. Earlier entries of the key, since evicted, counted those reads. Whenever a key
//! is evicted, the set's `evicted` is raised to at least its `count + error`. A new key takes `evicted` as its error.
//! A key that entered before its set was first full has an error of 0, so its count is exact since attach.

use crate::key::{KEY_WORDS, KeyText, SHORT_KEY};

/// Entries of a set.
pub const WAYS: usize = 8;

/// Sets of a shard. Together they hold [`WAYS`] · 1,024 keys in 776 KiB.
pub const SETS: u32 = 1024;

/// How much a read of a key in the table raises its rank. A new key's read raises it by one.
pub const RETURN: u32 = 16;

/// The base-2 logarithm of an epoch in nanoseconds: 2^33 ns are 8.6 s.
pub const EPOCH_SHIFT: u32 = 33;

/// A key in the table: the fields that are read only after the key's slot is known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Reads since the key entered the table.
    pub count: u64,
    /// Upper bound of the reads before the key entered the table.
    pub error: u64,
    /// The key's last bytes, like [`KeyText::words`].
    pub words: [u64; KEY_WORDS],
}

/// The kernel's spin lock. The kernel finds it by this name in the map's BTF. Only the lock helpers access it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct bpf_spin_lock {
    value: u32,
}

/// Value of the array `KEYS`. Set `s` of shard `n` has the index `n · SETS + s`.
///
/// The fields that every read accesses are adjacent. A set is rarely in the CPU's cache, so each cache line costs a
/// miss.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    /// Held while a kernel program changes the set, and while user space copies it (`BPF_F_LOCK`). It is the first
    /// field, because the verifier allows no pointer arithmetic that reaches a lock.
    pub lock: bpf_spin_lock,
    /// The epoch in which the ranks were last halved.
    epoch: u32,
    /// The largest `count + error` of any evicted key.
    pub evicted: u64,
    /// The rank of each entry.
    ranks: [u32; WAYS],
    /// [Stored length](stored_length) of each key. 0 marks a free entry.
    lengths: [u16; WAYS],
    /// Hash of each key, like [`KeyText::hash`].
    pub hashes: [u64; WAYS],
    /// The keys.
    pub entries: [Entry; WAYS],
    /// Number of evicted keys.
    pub evictions: u64,
}

/// Returns the index of the set that holds a key of this hash.
#[must_use]
#[inline(always)]
pub const fn set_of(shard: u32, hash: u64) -> u32 {
    shard.wrapping_mul(SETS).wrapping_add((hash >> 32) as u32 & (SETS - 1))
}

impl KeySet {
    // Few branches and no loops, because the verifier follows both sides of each branch.

    /// Counts a read of `key` in the current epoch. The caller holds the lock, so this function makes no calls. Only
    /// the first [`SHORT_WORDS`](crate::key::SHORT_WORDS) words of a short key are read.
    #[inline(always)]
    pub fn count(&mut self, key: &KeyText, epoch: u32) {
        // The epoch never goes back. Another CPU may read the clock before this one and get the lock after it.
        if epoch.wrapping_sub(self.epoch).cast_signed() > 0 {
            self.age(epoch);
        }
        let (words, stored) = (words(key), stored_length(key.length));
        let (there, found) = self.find(key.hash);
        let slot = if there != 0 { found } else { self.least() };
        let entry = at(&mut self.entries, slot);
        let rank = at(&mut self.ranks, slot);
        let length = at(&mut self.lengths, slot);
        // Two keys with the same hash replace each other in one entry. This is rare and harmless.
        if (1 - there) | (*length as u64 ^ stored) | entry.differs(words) != 0 {
            let used = is_not_zero(*length as u64);
            let most = entry.count.wrapping_add(entry.error);
            // The maximum of both.
            self.evicted = most.wrapping_add(self.evicted).wrapping_sub(min(most, self.evicted));
            self.evictions += used;
            entry.words = words;
            entry.count = 0;
            entry.error = self.evicted;
            *at(&mut self.hashes, slot) = key.hash;
            *length = stored as u16;
        }
        entry.count += 1;
        *rank = rank.wrapping_add(1).wrapping_add(there as u32 * (RETURN - 1));
    }

    /// Returns 1 and the slot of the entry with this hash, or 0 and 0 if there is none.
    #[inline(always)]
    fn find(&self, hash: u64) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h] = self.hashes;
        let (a, b, c, d) = (is_equal(a, hash), is_equal(b, hash), is_equal(c, hash), is_equal(d, hash));
        let (e, f, g, h) = (is_equal(e, hash), is_equal(f, hash), is_equal(g, hash), is_equal(h, hash));
        // The first one, if several match: 0 is the hash of free entries, and a key's hash may be 0 too.
        let place = b + 2 * c + 3 * d + 4 * e + 5 * f + 6 * g + 7 * h;
        (a | b | c | d | e | f | g | h, place)
    }

    /// Returns the slot to replace: a free entry, or else an entry of lowest rank.
    #[inline(always)]
    fn least(&self) -> u64 {
        let ab = min(self.standing::<0>(), self.standing::<1>());
        let cd = min(self.standing::<2>(), self.standing::<3>());
        let ef = min(self.standing::<4>(), self.standing::<5>());
        let gh = min(self.standing::<6>(), self.standing::<7>());
        min(min(ab, cd), min(ef, gh)) & (WAYS as u64 - 1)
    }

    /// Returns an entry's rank above its slot number, which takes the lowest bits. A free entry sorts first.
    #[inline(always)]
    fn standing<const PLACE: usize>(&self) -> u64 {
        (self.ranks[PLACE] as u64 + is_not_zero(self.lengths[PLACE] as u64)) * WAYS as u64 + PLACE as u64
    }

    /// Halves all ranks, once for each elapsed epoch.
    #[inline(always)]
    fn age(&mut self, epoch: u32) {
        let halvings = min(epoch.wrapping_sub(self.epoch) as u64, 31) as u32;
        let [a, b, c, d, e, f, g, h] = &mut self.ranks;
        *a >>= halvings;
        *b >>= halvings;
        *c >>= halvings;
        *d >>= halvings;
        *e >>= halvings;
        *f >>= halvings;
        *g >>= halvings;
        *h >>= halvings;
        self.epoch = epoch;
    }
}

impl KeySet {
    /// Returns every key in the set, with its hash and length. Lengths of 65,534 and more are 65,534.
    pub fn keys(&self) -> impl Iterator<Item = (&Entry, u64, u32)> {
        let all = self.entries.iter().zip(self.hashes).zip(self.lengths);
        all.filter(|(_, length)| *length > 0)
            .map(|((entry, hash), length)| (entry, hash, u32::from(length) - 1))
    }
}

impl Entry {
    /// Returns a value other than 0 if a kept byte differs.
    #[inline(always)]
    const fn differs(&self, words: [u64; KEY_WORDS]) -> u64 {
        let ([a, b, c, d, e, f, g, h], [s, t, u, v, w, x, y, z]) = (self.words, words);
        (a ^ s) | (b ^ t) | (c ^ u) | (d ^ v) | (e ^ w) | (f ^ x) | (g ^ y) | (h ^ z)
    }
}

/// Returns a length as the set stores it: from 1 for an empty key to 65,535.
#[inline(always)]
fn stored_length(length: u32) -> u64 {
    min(length as u64, u16::MAX as u64 - 1) + 1
}

/// Returns the words of a key, with zeros after those of a short one.
#[inline(always)]
fn words(key: &KeyText) -> [u64; KEY_WORDS] {
    let is_long = is_negative((SHORT_KEY as u64).wrapping_sub(key.length as u64));
    let [a, b, c, d, e, f, g, h] = key.words;
    [a, b, c, d, e, f * is_long, g * is_long, h * is_long]
}

/// Returns an element of an array of the set. `black_box` keeps the mask that the verifier needs. It also stops the
/// compiler from computing the address from the lock's address.
#[inline(always)]
fn at<T>(all: &mut [T; WAYS], slot: u64) -> &mut T {
    let all = core::hint::black_box(all);
    &mut all[core::hint::black_box(slot) as usize & (WAYS - 1)]
}

// `black_box` stops the compiler from turning these bits into branches. The values are single bits instead of masks,
// because newer verifiers follow `-1 & constant` and `0 & constant` separately.

/// Returns 1 if both are equal, else 0.
#[inline(always)]
fn is_equal(a: u64, b: u64) -> u64 {
    let difference = a ^ b;
    // Halves the value, because `is_not_zero` accepts numbers below 2^63 only.
    1 - is_not_zero((difference >> 1) | (difference & 1))
}

/// Returns 1 if `number` (below 2^63) is not 0, else 0.
#[inline(always)]
fn is_not_zero(number: u64) -> u64 {
    is_negative(number.wrapping_neg())
}

/// Returns the minimum of two numbers below 2^63.
#[inline(always)]
fn min(number: u64, limit: u64) -> u64 {
    let over = number.wrapping_sub(limit);
    limit.wrapping_add(over.wrapping_mul(is_negative(over)))
}

/// Returns 1 if the highest bit is set, else 0.
#[inline(always)]
fn is_negative(number: u64) -> u64 {
    core::hint::black_box(core::hint::black_box(number) >> 63)
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, integers only, no padding.
unsafe impl aya::Pod for KeySet {}
