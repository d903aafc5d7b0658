//! Names the watched shards, as the HTTP interface shows them.

use std::sync::Arc;

use parking_lot::Mutex;
use protocol::shard_urls::ShardUrls;

/// The watched shards. The list of a store can grow; a shard keeps its number.
#[derive(Debug, Default)]
pub struct Shards(Mutex<Arc<[WatchedShard]>>);

/// One shard. Its number is its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchedShard {
    /// The number.
    pub(crate) id: u32,
    /// The URL as configured.
    pub(crate) url: String,
    /// `host:port`.
    pub(crate) address: String,
}

impl Shards {
    /// All shards, in order of number.
    pub(crate) fn all(&self) -> Arc<[WatchedShard]> {
        Arc::clone(&self.0.lock())
    }

    /// Replaces the list.
    #[cfg(feature = "stores")]
    pub(crate) fn set(&self, shards: Vec<WatchedShard>) {
        *self.0.lock() = shards.into();
    }
}

impl From<&ShardUrls> for Shards {
    fn from(urls: &ShardUrls) -> Self {
        let shards = urls.iter().map(|url| WatchedShard {
            id: url.id.0,
            url: url.to_string(),
            address: format!("{}:{}", url.host, url.port),
        });
        Self(Mutex::new(shards.collect()))
    }
}
