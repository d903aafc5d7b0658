//! Maps a key to its home shard and that shard's URL.

use protocol::placement::Scheme;
use protocol::shard_urls::{ShardUrl, ShardUrls};
use protocol::{Key, ShardId};
use std::num::NonZeroU32;

use crate::upstream::in_flight::InFlight;

/// A placement over a fixed list of shards.
pub(crate) struct Placement {
    shards: ShardUrls,
    count: NonZeroU32,
    scheme: Scheme,
    /// Bounded load: how far above its fair share of the requests in flight a shard may be.
    epsilon: f64,
}

impl Placement {
    pub(crate) fn new(shards: ShardUrls, scheme: Scheme, epsilon: f64) -> Self {
        let count = shards.count();
        Self { shards, count, scheme, epsilon }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Selects the shard for a read of a key with this home.
    ///
    /// Without bounded load it is the home. With bounded load it is the first shard, from the home on in the ring of
    /// ids, with fewer than ⌈(1 + ε) · (requests in flight + 1) / shards⌉ requests in flight. At least one shard is
    /// always below this bound.
    ///
    /// Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018.
    pub(crate) fn for_read(&self, home: ShardId, in_flight: &InFlight) -> ShardId {
        if self.scheme != Scheme::Bounded {
            return home;
        }
        let shards = self.count.get();
        let all: u32 = (0..shards as usize).map(|shard| in_flight.of(shard)).sum();
        let bound = ((1.0 + self.epsilon) * f64::from(all + 1) / f64::from(shards)).ceil();
        let mut from_home = (0..shards).map(|step| ShardId((home.0 + step) % shards));
        from_home.find(|shard| f64::from(in_flight.of(shard.index())) < bound).unwrap_or(home)
    }

    /// The home shard of `key`. Its id is less than [`Placement::count`].
    pub(crate) fn owner(&self, key: &Key) -> ShardId {
        self.scheme.home(key, self.count)
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
        let placement = Placement::new(ShardUrls::parse(urls).unwrap(), Scheme::Modulo, 0.25);
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

    #[tokio::test]
    async fn bounded_load_goes_on_to_the_next_with_room() {
        let urls = ShardUrls::parse("http://h:1,http://h:2,http://h:3,http://h:4").unwrap();
        let bounded = Placement::new(urls.clone(), Scheme::Bounded, 0.25);
        let in_flight = InFlight::new(4, 64, std::num::NonZeroUsize::MIN);
        let mut flying = Vec::new();
        // All requests are for one key. It fills its home up to the bound, then the next shard, and the bound rises.
        let mut went = Vec::new();
        for _ in 0..16 {
            let shard = bounded.for_read(ShardId(2), &in_flight);
            went.push(shard.0);
            flying.push(in_flight.enter(shard.index()).await.unwrap());
        }
        assert_eq!(went[..5], [2, 3, 0, 2, 3], "1 each of 3, then ⌈1.25 · 4 / 4⌉ = 2");
        for shard in 0..4 {
            assert!(in_flight.of(shard) <= 5, "⌈1.25 · 16 / 4⌉: {went:?}");
        }
        let plain = Placement::new(urls, Scheme::Modulo, 0.25);
        assert_eq!(plain.for_read(ShardId(2), &in_flight), ShardId(2));
    }
}
