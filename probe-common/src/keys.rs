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

/// Sets of a shard: together [`WAYS`] · 1,024 keys in 792 KiB.
pub const SETS: u32 = 1024;

/// What a read of a key that is in the table counts for its staying; a newcomer's counts one.
pub const RETURN: u32 = 16;

/// An epoch is 2^33 ns: 8.6 s.
pub const EPOCH_SHIFT: u32 = 33;

/// A key in the table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Its last bytes, as [`KeyText::words`].
    pub words: [u64; KEY_WORDS],
    /// As [`KeyText::hash`].
    pub hash: u64,
    /// Reads since it came into the table.
    pub count: u64,
    /// Reads before that, at most.
    pub error: u64,
    /// Bytes of the key; 0 when the entry is free.
    pub length: u32,
    /// Reads that count for staying.
    rank: u32,
}

/// The kernel's lock, by the name that it looks for in the map's BTF. Only its helpers touch it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct bpf_spin_lock {
    value: u32,
}

/// Value of the array `KEYS`; set `s` of shard `n` has the index `n · SETS + s`.
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
    /// How many had to.
    pub evictions: u64,
    /// The keys.
    pub entries: [Entry; WAYS],
}

/// The set of a shard that a key belongs to.
#[must_use]
#[inline(always)]
pub const fn set_of(shard: u32, hash: u64) -> u32 {
    shard.wrapping_mul(SETS).wrapping_add((hash >> 32) as u32 & (SETS - 1))
}

impl KeySet {
    // Few branches, and no loops: the kernel's verifier follows each way of each branch, and without CAP_PERFMON loops
    // beyond their end.

    /// Counts a read of `key`, in the epoch of now. With the lock held, and hence without a call.
    #[inline(always)]
    pub fn count(&mut self, key: &KeyText, epoch: u32) {
        // Not backwards: another CPU may have read the clock before this one and got the lock after it.
        if epoch.wrapping_sub(self.epoch).cast_signed() > 0 {
            self.age(epoch);
        }
        let (there, found) = self.find(key);
        let least = self.least();
        let slot = least.wrapping_add(there.wrapping_mul(found.wrapping_sub(least)));
        // `black_box`, so that the way to an entry does not begin at the lock.
        let entry = &mut core::hint::black_box(&mut self.entries)[slot as usize & (WAYS - 1)];
        // Two keys of one hash and length take turns in one entry; that is as rare as it is harmless.
        if (1 - there) | entry.differs(key) != 0 {
            let used = is_not_zero(entry.length as u64);
            let most = entry.count.wrapping_add(entry.error);
            // The greater of both.
            self.evicted = most.wrapping_add(self.evicted).wrapping_sub(at_most(most, self.evicted));
            self.evictions += used;
            entry.words = key.words;
            entry.hash = key.hash;
            entry.length = key.length;
            entry.count = 0;
            entry.error = self.evicted;
        }
        entry.count += 1;
        entry.rank = entry.rank.wrapping_add(1).wrapping_add(there as u32 * (RETURN - 1));
    }

    /// 1 and the place of the entry with the key's hash and length, if there is one; else 0 and 0.
    #[inline(always)]
    fn find(&self, key: &KeyText) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h] = &self.entries;
        let (a, b, c, d) = (a.matches(key), b.matches(key), c.matches(key), d.matches(key));
        let (e, f, g, h) = (e.matches(key), f.matches(key), g.matches(key), h.matches(key));
        let place = b + 2 * c + 3 * d + 4 * e + 5 * f + 6 * g + 7 * h;
        (a | b | c | d | e | f | g | h, place)
    }

    /// The place to give away: that of a free entry, else of one of least rank.
    #[inline(always)]
    fn least(&self) -> u64 {
        let [a, b, c, d, e, f, g, h] = &self.entries;
        let ab = at_most(a.standing(0), b.standing(1));
        let cd = at_most(c.standing(2), d.standing(3));
        let ef = at_most(e.standing(4), f.standing(5));
        let gh = at_most(g.standing(6), h.standing(7));
        at_most(at_most(ab, cd), at_most(ef, gh)) & (WAYS as u64 - 1)
    }

    /// Halves all ranks, once for each epoch that has passed.
    #[inline(always)]
    fn age(&mut self, epoch: u32) {
        let halvings = at_most(epoch.wrapping_sub(self.epoch) as u64, 31) as u32;
        let [a, b, c, d, e, f, g, h] = &mut self.entries;
        a.rank >>= halvings;
        b.rank >>= halvings;
        c.rank >>= halvings;
        d.rank >>= halvings;
        e.rank >>= halvings;
        f.rank >>= halvings;
        g.rank >>= halvings;
        h.rank >>= halvings;
        self.epoch = epoch;
    }
}

impl Entry {
    /// 1 if hash and length are the key's, else 0.
    #[inline(always)]
    fn matches(&self, key: &KeyText) -> u64 {
        let difference = (self.hash ^ key.hash) | (self.length ^ key.length) as u64;
        // Both halves, as `is_not_zero` takes no number of 64 bits.
        1 - is_not_zero((difference >> 1) | (difference & 1))
    }

    /// Not 0 if a kept byte is another.
    #[inline(always)]
    const fn differs(&self, key: &KeyText) -> u64 {
        let ([a, b, c, d, e, f, g, h], [s, t, u, v, w, x, y, z]) = (self.words, key.words);
        (a ^ s) | (b ^ t) | (c ^ u) | (d ^ v) | (e ^ w) | (f ^ x) | (g ^ y) | (h ^ z)
    }

    /// What it has to say for staying, a free entry nothing; and its place, in the lowest bits.
    #[inline(always)]
    fn standing(&self, place: u64) -> u64 {
        (self.rank as u64 + is_not_zero(self.length as u64)) * WAYS as u64 + place
    }
}

// What follows hides its bits from the compiler, which would make branches of them. They are bits, not masks: verifiers
// of late follow `-1 & constant` and `0 & constant` apart.

/// 1 if `number` (below 2^63) is not 0, else 0.
#[inline(always)]
fn is_not_zero(number: u64) -> u64 {
    is_negative(number.wrapping_neg())
}

/// The lesser of two numbers below 2^63.
#[inline(always)]
fn at_most(number: u64, limit: u64) -> u64 {
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
