//! Declares the gateway's cache switch, shard mapping and hot keys.
//!
//! The paths are `/admin/cache`, `/admin/shard-mapping/{key}` and `/admin/hot-keys`.

use serde::{Deserialize, Serialize};

use super::Gateways;
use crate::{Key, ShardId};

/// The body of `POST /admin/cache`; a missing field keeps its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheChange {
    /// Switches the cache on for all keys, or off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Time to live of entries stored from now on, in seconds: 1 … 86,400.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// The answer to `POST /admin/cache`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheSwitched {
    /// The cache now.
    #[serde(flatten)]
    pub state: CacheState,
    /// At how many gateways it holds; absent without peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Gateways>,
}

/// The gateway's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheState {
    /// Whether the cache is on, for all keys or for hot keys only.
    pub cache_enabled: bool,
    /// Time to live of entries stored from now on, in seconds.
    pub cache_ttl_seconds: u64,
}

/// The answer to `GET /admin/shard-mapping/{key}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardMapping {
    /// The key.
    pub key: Key,
    /// The shards that may serve reads of the key now, its home first.
    pub replicas: Vec<ShardId>,
    /// The key's home shard.
    pub shard_id: ShardId,
    /// The home shard's URL.
    pub shard_url: String,
}

/// The answer to `GET /admin/hot-keys`: one gateway's counts. Counts of several gateways can be merged.
///
/// `S` is the summary of the counts by key since the last reset. `O` is the counts by shard and key of one window.
/// Both are types of the crate that merges and judges them (`hotspot`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotKeys<S, O> {
    /// Unix seconds at which this process started counting.
    pub started_at: f64,
    /// Client requests since the last reset.
    pub requests: u64,
    /// The largest keys and an upper bound for all others.
    #[serde(flatten)]
    pub summary: S,
    /// Requests sent to the shards in the last full second.
    pub second: O,
    /// Requests sent to the shards in the last ten full seconds.
    pub ten: O,
}
