//! Maps keys to the shards that own them.
//!
//! No placement can split one hot key: the lab shows this. The placements differ in how many keys move when
//! the number of shards changes.

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

use crate::{Key, ShardId};

/// The placement of a gateway, with its name in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// [`modulo`].
    Modulo,
    /// [`jump`].
    Jump,
    /// [`rendezvous`].
    Rendezvous,
    /// [`modulo`]; a read is forwarded to another shard if its home has too many requests in flight.
    Bounded,
}

impl Scheme {
    /// The placement that determines the home of a key.
    #[must_use]
    pub fn of_homes(self) -> Self {
        if self == Self::Bounded { Self::Modulo } else { self }
    }

    /// The home of `key` among `shards`.
    #[must_use]
    pub fn home(self, key: &Key, shards: NonZeroU32) -> ShardId {
        match self {
            Self::Modulo | Self::Bounded => modulo(key, shards),
            Self::Jump => jump(key, shards),
            Self::Rendezvous => rendezvous(key, shards),
        }
    }
}

/// Modulo placement: the MD5 digest of the key's bytes as a big-endian 128-bit integer, modulo `shards`.
///
/// This is neither consistent nor rendezvous hashing: a change of `shards` moves most keys.
#[must_use]
pub fn modulo(key: &Key, shards: NonZeroU32) -> ShardId {
    let digest: [u8; 16] = Md5::digest(key.as_str().as_bytes()).into();
    let remainder = u128::from_be_bytes(digest) % u128::from(shards.get());
    // Below `shards`, a u32.
    ShardId(u32::try_from(remainder).unwrap_or_default())
}

/// Jump placement of the first 64 bits (big-endian) of the key's MD5 digest. From n to n + 1 shards one key in n + 1
/// moves, always to the new shard.
///
/// Lamping, Veach: "A Fast, Minimal Memory, Consistent Hash Algorithm", arXiv:1406.2294, 2014.
#[must_use]
pub fn jump(key: &Key, shards: NonZeroU32) -> ShardId {
    ShardId(jump_hash(digest64(key), shards))
}

/// Rendezvous placement: the shard with the highest score for the key. From n to n + 1 shards one key in n + 1 moves,
/// always to the new shard. Any one shard can be removed without moving the keys of the others.
///
/// Thaler, Ravishankar: "Using name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6,
/// 1998. The score is the output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). Its input combines the
/// first 64 bits of the key's MD5 digest with the function's output for the shard's number.
#[must_use]
pub fn rendezvous(key: &Key, shards: NonZeroU32) -> ShardId {
    let digest = digest64(key);
    let score = |shard: &u32| mix(digest ^ mix(u64::from(*shard)));
    ShardId((0..shards.get()).max_by_key(score).unwrap_or_default())
}

fn digest64(key: &Key) -> u64 {
    let digest: [u8; 16] = Md5::digest(key.as_str().as_bytes()).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Returns the bucket of `key` among `buckets`. It visits the buckets to which the key would move if they were
/// added one by one.
fn jump_hash(mut key: u64, buckets: NonZeroU32) -> u32 {
    let (mut bucket, mut next) = (0, 0.0_f64);
    while next < f64::from(buckets.get()) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below `buckets`, a u32")]
        let jumped = next as u32;
        bucket = jumped;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        // An f64 represents 31 bits exactly.
        #[expect(clippy::cast_precision_loss, reason = "at most 2^31")]
        let step = ((key >> 33) + 1) as f64;
        next = ((f64::from(bucket) + 1.0) * (f64::from(1_u32 << 31) / step)).floor();
    }
    bucket
}

/// The output of SplitMix64 for the state that precedes `bits`.
fn mix(bits: u64) -> u64 {
    let mut bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const FOUR: NonZeroU32 = NonZeroU32::new(4).unwrap();

    fn user(n: u32) -> Key {
        Key::new(&format!("user-{n}")).unwrap()
    }

    #[test]
    fn golden_placements_hold() {
        let golden = include_str!("../golden/placements.txt");
        let mut checked = 0;
        for line in golden.lines().filter(|line| !line.starts_with('#')) {
            let (shard, key) = line.split_once(' ').unwrap();
            assert_eq!(modulo(&Key::new(key).unwrap(), FOUR).to_string(), shard, "{key}");
            checked += 1;
        }
        assert_eq!(checked, 1_507);
    }

    #[test]
    fn one_shard_owns_everything() {
        for place in [modulo, jump, rendezvous] {
            assert_eq!(place(&Key::new("anything").unwrap(), NonZeroU32::MIN), ShardId(0));
        }
    }

    #[test]
    fn jump_hashes_as_other_implementations_have_them() {
        // Test vectors that several public implementations of the paper use.
        for (key, buckets, bucket) in [
            (1, 1, 0),
            (42, 57, 43),
            (0xdead_10cc, 1, 0),
            (0xdead_10cc, 666, 361),
            (256, 1_024, 520),
            (0, 60, 0),
            (1, 60, 55),
            (2, 60, 46),
        ] {
            assert_eq!(jump_hash(key, NonZeroU32::new(buckets).unwrap()), bucket, "{key} of {buckets}");
        }
    }

    #[test]
    fn split_mix_as_published() {
        // The first outputs of the generator with seed 0.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let outputs = [0, STEP, STEP.wrapping_mul(2)].map(mix);
        assert_eq!(outputs, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }

    #[test]
    fn golden_jump_and_rendezvous_placements_hold() {
        let golden = include_str!("../golden/jump_rendezvous.txt");
        let mut checked = 0;
        for line in golden.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let [shards, by_jump, by_rendezvous, key] = words[..] else { panic!("{line}") };
            let (shards, key) = (shards.parse().unwrap(), Key::new(key).unwrap());
            assert_eq!(jump(&key, shards).to_string(), by_jump, "{line}");
            assert_eq!(rendezvous(&key, shards).to_string(), by_rendezvous, "{line}");
            checked += 1;
        }
        assert_eq!(checked, 600);
    }

    #[test]
    fn growth_moves_one_key_in_n_plus_1_to_the_new_shard_and_modulo_most() {
        const KEYS: u32 = 20_000;
        for shards in 1..12 {
            let (before, after) = (NonZeroU32::new(shards).unwrap(), NonZeroU32::new(shards + 1).unwrap());
            let moved = |place: fn(&Key, NonZeroU32) -> ShardId| {
                let moves = (0..KEYS).map(user).map(|key| (place(&key, before), place(&key, after)));
                let moves: Vec<_> = moves.filter(|(old, new)| old != new).collect();
                let targets: HashSet<_> = moves.iter().map(|(_, new)| *new).collect();
                (moves.len() as f64 / f64::from(KEYS), targets)
            };
            let fair = 1.0 / f64::from(shards + 1);
            // Six standard errors.
            let bound = 6.0 * (fair * (1.0 - fair) / f64::from(KEYS)).sqrt();
            for place in [jump, rendezvous] {
                let (part, targets) = moved(place);
                assert!((part - fair).abs() < bound, "{shards}: {part} instead of {fair}");
                assert_eq!(targets, HashSet::from([ShardId(shards)]));
            }
            let (part, _) = moved(modulo);
            assert!((part - (1.0 - fair)).abs() < bound, "{shards}: modulo moves {part}");
        }
    }

    #[test]
    fn keys_fall_evenly() {
        const KEYS: u32 = 20_000;
        for shards in [2, 4, 7] {
            for place in [modulo, jump, rendezvous] {
                let mut counts = vec![0.0_f64; shards as usize];
                for n in 0..KEYS {
                    counts[place(&user(n), NonZeroU32::new(shards).unwrap()).index()] += 1.0;
                }
                let fair = f64::from(KEYS) / f64::from(shards);
                let chi2: f64 = counts.iter().map(|count| (count - fair).powi(2) / fair).sum();
                // Far above the 99.99th percentile for up to six degrees of freedom.
                assert!(chi2 < 30.0, "{shards}: {counts:?}");
            }
        }
    }
}
