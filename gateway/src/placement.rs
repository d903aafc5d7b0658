//! Which shard owns a key, and where that shard is.

use protocol::placement::modulo;
use protocol::shard_urls::{ShardUrl, ShardUrls};
use protocol::{Key, ShardId};
use std::num::NonZeroU32;

/// Modulo placement over a fixed list of shards.
pub(crate) struct Placement {
    shards: ShardUrls,
    count: NonZeroU32,
}

impl Placement {
    pub(crate) fn new(shards: ShardUrls) -> Self {
        let count = shards.count();
        Self { shards, count }
    }

    /// The shard that owns `key`; below [`Placement::count`].
    pub(crate) fn owner(&self, key: &Key) -> ShardId {
        modulo(key, self.count)
    }

    pub(crate) fn count(&self) -> NonZeroU32 {
        self.count
    }

    /// The shard's base URL, `http://host:port`.
    pub(crate) fn url(&self, shard: ShardId) -> String {
        self.shards.get(shard).map(ShardUrl::to_string).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_contract_hold() {
        let urls = "http://h:9000,http://h:9001,http://h:9002,http://h:9003";
        let placement = Placement::new(ShardUrls::parse(urls).unwrap());
        for (key, shard) in [
            ("user-0", 1),
            ("user-1", 0),
            ("user-2", 3),
            ("user-3", 2),
            ("user-100", 1),
            ("test-key", 3),
            ("celebrity-user-kardashian", 0),
        ] {
            assert_eq!(placement.owner(&Key::new(key).unwrap()), ShardId(shard), "{key}");
            assert_eq!(placement.url(ShardId(shard)), format!("http://h:900{shard}"));
        }
    }
}
