//! Parts that are held apart, so that cores seldom meet at one lock.

use std::hash::{BuildHasher, Hash, RandomState};

/// Several `T`; every key belongs to one of them, always the same. `RandomState` keeps clients from choosing keys that
/// all fall on one part.
pub(crate) struct Striped<T> {
    parts: Box<[T]>,
    hasher: RandomState,
}

impl<T> Striped<T> {
    /// `count` parts; 0 is taken as 1.
    pub(crate) fn new(count: usize, part: impl FnMut() -> T) -> Self {
        let parts = std::iter::repeat_with(part).take(count.max(1)).collect();
        Self { parts, hasher: RandomState::new() }
    }

    /// The part that `key` belongs to.
    pub(crate) fn of(&self, key: &impl Hash) -> &T {
        #[expect(clippy::cast_possible_truncation, reason = "only the low bits matter")]
        let hash = self.hasher.hash_one(key) as usize;
        &self.parts[hash % self.parts.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_key_stays_where_it_is_and_keys_spread() {
        let striped = Striped::new(4, AtomicU32::default);
        for key in 0..4_000 {
            striped.of(&key).fetch_add(1, Ordering::Relaxed);
            assert!(std::ptr::eq(striped.of(&key), striped.of(&key)));
        }
        let counts: Vec<_> = striped.parts.iter().map(|part| part.load(Ordering::Relaxed)).collect();
        // The spread is 27: what lies outside is over seven of it away.
        assert!(counts.len() == 4 && counts.iter().all(|n| (800..1_200).contains(n)), "{counts:?}");
    }

    #[test]
    fn there_is_always_a_part() {
        assert_eq!(*Striped::new(0, || 7).of(&"key"), 7);
    }
}
