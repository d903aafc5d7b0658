//! Which shard owns a key.

use md5::{Digest, Md5};

use crate::{Key, ShardId};

/// Modulo placement: the MD5 digest of the key's bytes as a big-endian 128-bit integer, modulo `shards`.
///
/// It is neither consistent nor rendezvous hashing: a change of `shards` moves most keys. No placement of this kind can
/// split one hot key, which is what the lab shows.
#[must_use]
pub fn modulo(key: &Key, shards: std::num::NonZeroU32) -> ShardId {
    let digest: [u8; 16] = Md5::digest(key.as_str().as_bytes()).into();
    let remainder = u128::from_be_bytes(digest) % u128::from(shards.get());
    // Below `shards`, a u32.
    ShardId(u32::try_from(remainder).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    const FOUR: NonZeroU32 = NonZeroU32::new(4).unwrap();

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
        assert_eq!(modulo(&Key::new("anything").unwrap(), NonZeroU32::MIN), ShardId(0));
    }
}
