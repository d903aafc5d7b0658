//! Signal `keys`: how often each key was read, in a table of fixed size.
//!
//! A key's hash picks one of its shard's sets; a set has eight entries. A key that has none takes the entry of least
//! rank and inherits the rank, as in Space-Saving (Metwally, Agrawal, El Abbadi 2005); but a read of a key that is there
//! raises its rank by [`RETURN`], not by one, so that those who come back stay and those who come once, however many,
//! pass through. Ranks are halved every [`EPOCH_SHIFT`] so that yesterday's keys give way. Why this and no other way:
//! `docs/experiments/2026-11-23-keys.md`.
//!
//! What is reported does not depend on ranks: `count` is exact since the key came into the table, and `error` bounds
//! what it may have had before. For while a key was out of the table its requests went through other entries, and each
//! time it left, `count + error` of that moment went into the set's `evicted`, which newcomers take as their error.
//! A key that came before its set was ever full has an error of 0: its count is exact since attach.

use crate::key::{KEY_WORDS, KeyText};

/// Entries of a set.
pub const WAYS: usize = 8;

/// Sets of a shard: together [`WAYS`] · 1,024 keys in 776 KiB.
pub const SETS: u32 = 1024;

/// What a read of a key that is in the table counts for its staying; a newcomer's counts one.
pub const RETURN: u32 = 16;

/// An epoch is 2^33 ns: 8.6 s.
pub const EPOCH_SHIFT: u32 = 33;

/// A key in the table: what is looked at once it is known which.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Reads since it came into the table.
    pub count: u64,
    /// Reads before that, at most.
    pub error: u64,
    /// Its last bytes, as [`KeyText::words`].
    pub words: [u64; KEY_WORDS],
}

/// The kernel's lock, by the name that it looks for in the map's BTF. Only its helpers touch it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct bpf_spin_lock {
    value: u32,
}

/// Value of the array `KEYS`; set `s` of shard `n` has the index `n · SETS + s`.
///
/// What every read looks at stands together: a set is seldom in a cache, and each of its lines is waited for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    /// Held while the set is changed, and by user space's `BPF_F_LOCK` while it is copied. First, as the verifier lets
    /// no pointer be moved onto it.
    pub lock: bpf_spin_lock,
    /// The epoch ranks were last halved in.
    epoch: u32,
    /// The largest `count + error` of a key that had to leave.
    pub evicted: u64,
    /// Reads that count for staying, by entry.
    ranks: [u32; WAYS],
    /// Bytes of the keys, of which a head has fewer than 2^16; 0 where an entry is free.
    pub lengths: [u16; WAYS],
    /// As [`KeyText::hash`].
    pub hashes: [u64; WAYS],
    /// The keys.
    pub entries: [Entry; WAYS],
    /// How many had to leave.
    pub evictions: u64,
}

/// The set of a shard that a key belongs to.
#[must_use]
#[inline(always)]
pub const fn set_of(shard: u32, hash: u64) -> u32 {
    shard.wrapping_mul(SETS).wrapping_add((hash >> 32) as u32 & (SETS - 1))
}

impl KeySet {
    // Few branches and no loops: the verifier follows both sides of each branch.

    /// Counts a read of `key`, in the epoch of now. With the lock held, and hence without a call.
    #[inline(always)]
    pub fn count(&mut self, key: &KeyText, epoch: u32) {
        // Not backwards: another CPU may have read the clock before this one and got the lock after it.
        if epoch.wrapping_sub(self.epoch).cast_signed() > 0 {
            self.age(epoch);
        }
        let (there, found) = self.find(key.hash);
        let slot = if there != 0 { found } else { self.least() };
        let entry = at(&mut self.entries, slot);
        let rank = at(&mut self.ranks, slot);
        let length = at(&mut self.lengths, slot);
        // Two keys of one hash take turns in one entry; that is as rare as it is harmless.
        if (1 - there) | (*length as u64 ^ key.length as u64) | entry.differs(key) != 0 {
            let used = is_not_zero(*length as u64);
            let most = entry.count.wrapping_add(entry.error);
            // The greater of both.
            self.evicted = most.wrapping_add(self.evicted).wrapping_sub(min(most, self.evicted));
            self.evictions += used;
            entry.words = key.words;
            entry.count = 0;
            entry.error = self.evicted;
            *at(&mut self.hashes, slot) = key.hash;
            *length = key.length as u16;
        }
        entry.count += 1;
        *rank = rank.wrapping_add(1).wrapping_add(there as u32 * (RETURN - 1));
    }

    /// 1 and the place of the entry with this hash, if there is one; else 0 and 0.
    #[inline(always)]
    fn find(&self, hash: u64) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h] = self.hashes;
        let (a, b, c, d) = (is_equal(a, hash), is_equal(b, hash), is_equal(c, hash), is_equal(d, hash));
        let (e, f, g, h) = (is_equal(e, hash), is_equal(f, hash), is_equal(g, hash), is_equal(h, hash));
        // The first, if there were several: 0 is the hash of free entries too, and may be a key's.
        let place = b + 2 * c + 3 * d + 4 * e + 5 * f + 6 * g + 7 * h;
        (a | b | c | d | e | f | g | h, place)
    }

    /// The place to give away: that of a free entry, else of one of least rank.
    #[inline(always)]
    fn least(&self) -> u64 {
        let ab = min(self.standing::<0>(), self.standing::<1>());
        let cd = min(self.standing::<2>(), self.standing::<3>());
        let ef = min(self.standing::<4>(), self.standing::<5>());
        let gh = min(self.standing::<6>(), self.standing::<7>());
        min(min(ab, cd), min(ef, gh)) & (WAYS as u64 - 1)
    }

    /// What an entry has to say for staying, a free one nothing; and its place, in the lowest bits.
    #[inline(always)]
    fn standing<const PLACE: usize>(&self) -> u64 {
        (self.ranks[PLACE] as u64 + is_not_zero(self.lengths[PLACE] as u64)) * WAYS as u64 + PLACE as u64
    }

    /// Halves all ranks, once for each epoch that has passed.
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
    /// Every key in the set, with its hash and length.
    pub fn keys(&self) -> impl Iterator<Item = (&Entry, u64, u32)> {
        let all = self.entries.iter().zip(self.hashes).zip(self.lengths);
        all.filter(|(_, length)| *length > 0).map(|((entry, hash), length)| (entry, hash, u32::from(length)))
    }
}

impl Entry {
    /// Not 0 if a kept byte is another.
    #[inline(always)]
    const fn differs(&self, key: &KeyText) -> u64 {
        let ([a, b, c, d, e, f, g, h], [s, t, u, v, w, x, y, z]) = (self.words, key.words);
        (a ^ s) | (b ^ t) | (c ^ u) | (d ^ v) | (e ^ w) | (f ^ x) | (g ^ y) | (h ^ z)
    }
}

/// An element of an entry. `black_box` keeps the verifier's mask, and keeps the address from being computed from the lock's.
#[inline(always)]
fn at<T>(all: &mut [T; WAYS], slot: u64) -> &mut T {
    let all = core::hint::black_box(all);
    &mut all[core::hint::black_box(slot) as usize & (WAYS - 1)]
}

// `black_box` keeps the compiler from turning these bits into branches. They are bits and not masks, because newer
// verifiers follow `-1 & constant` and `0 & constant` separately.

/// 1 if both are the same, else 0.
#[inline(always)]
fn is_equal(a: u64, b: u64) -> u64 {
    let difference = a ^ b;
    // Both halves, as `is_not_zero` takes no number of 64 bits.
    1 - is_not_zero((difference >> 1) | (difference & 1))
}

/// 1 if `number` (below 2^63) is not 0, else 0.
#[inline(always)]
fn is_not_zero(number: u64) -> u64 {
    is_negative(number.wrapping_neg())
}

/// The lesser of two numbers below 2^63.
#[inline(always)]
fn min(number: u64, limit: u64) -> u64 {
    let over = number.wrapping_sub(limit);
    limit.wrapping_add(over.wrapping_mul(is_negative(over)))
}

/// 1 if the highest bit is set, else 0.
#[inline(always)]
fn is_negative(number: u64) -> u64 {
    core::hint::black_box(core::hint::black_box(number) >> 63)
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, integers only, no padding.
unsafe impl aya::Pod for KeySet {}
