//! Hashes keys, with a seed of this process so that clients cannot choose keys that collide.

use ahash::RandomState;
use std::hash::Hash;
use std::sync::LazyLock;

static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The hash of a key. It is computed once for an access in a batch, and used by all its counters.
pub fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    SEED.hash_one(key)
}
