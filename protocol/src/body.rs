//! The JSON bodies of the wire contract that more than one party reads.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Key, ShardId};

/// A shard's answer to `GET /data/{key}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardGet {
    /// The key that was asked for.
    pub key: Key,
    /// What the shard holds.
    pub value: Map<String, Value>,
    /// The shard that answers.
    pub shard_id: ShardId,
    /// Whether the key was there before.
    pub found: bool,
    /// Present and true when the shard made the value on the spot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_created: bool,
}

/// A shard's answer to `POST /data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSet {
    /// The key that was written.
    pub key: Key,
    /// The shard that holds it.
    pub shard_id: ShardId,
    /// Always `stored`.
    pub status: String,
}

/// The gateway's answer to `GET /data/{key}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayGet {
    /// The key that was asked for.
    pub key: Key,
    /// What the shard holds, or held when the cached copy was made.
    pub value: Map<String, Value>,
    /// The shard that gave the value.
    pub shard_id: ShardId,
    /// Whether the answer came from the cache.
    pub cache_hit: bool,
    /// Milliseconds in the gateway, to two decimals.
    pub latency_ms: f64,
    /// Present and true for a request that waited for another's fetch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub coalesced: bool,
    /// Present and true for a copy past its time to live.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

/// The gateway's answer to `POST /data`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewaySet {
    /// The key that was written.
    pub key: Key,
    /// The shard that holds it.
    pub shard_id: ShardId,
    /// Always `stored`.
    pub status: String,
    /// Milliseconds in the gateway, to two decimals.
    pub latency_ms: f64,
}

/// The status word of a write that was done.
pub const STORED: &str = "stored";

/// One key with its count, as `top_keys` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopKey {
    /// The key.
    pub key: Key,
    /// Counted accesses; the true number is in `count - error ..= count`.
    pub count: u64,
    /// How much of `count` may belong to other keys; 0 while counting is exact.
    pub error: u64,
}

/// One key over the shard's hot-key threshold, as `hot_keys` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotKey {
    /// The key.
    pub key: Key,
    /// Its share of the shard's accesses in the window, 0 … 1.
    pub ratio: f64,
    /// Its accesses in the window.
    pub count: u64,
}

/// A shard's `/stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardStats {
    /// The shard that answers.
    pub shard_id: ShardId,
    /// Keys in the store.
    pub total_keys: u64,
    /// Served data requests plus those in flight, since the last reset.
    pub total_accesses: u64,
    /// Data requests received since the process started; no reset lowers it.
    pub requests_received: u64,
    /// Unix seconds at which this process began to count; differs between two runs.
    pub started_at: f64,
    /// Requests in service plus waiting.
    pub active_requests: u64,
    /// Data requests that were answered with their value, since the process started.
    pub requests_served: u64,
    /// Data requests refused for what they asked (4xx, 507), since the process started.
    pub requests_rejected: u64,
    /// Data requests refused for lack of room (503), since the process started.
    pub requests_shed: u64,
    /// The most accessed keys since the last reset, most first.
    pub top_keys: Vec<TopKey>,
    /// Keys with more than 30 % of the last 10 s.
    pub hot_keys: Vec<HotKey>,
}

/// Requests that the gateway really sent to one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRequests {
    /// The shard.
    pub shard_id: ShardId,
    /// Requests sent to it.
    pub requests: u64,
}

/// The gateway's `/stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayStats {
    /// How many shards keys are placed on.
    pub num_shards: u32,
    /// Whether the cache is on.
    pub cache_enabled: bool,
    /// Time to live of entries stored from now on, in seconds.
    pub cache_ttl_seconds: u64,
    /// Live entries in the cache.
    pub cache_size: u64,
    /// GETs answered from the cache since the last reset.
    pub cache_hits: u64,
    /// GETs that caused a fetch since the last reset.
    pub cache_misses: u64,
    /// GETs that waited for another's fetch since the last reset.
    pub cache_coalesced: u64,
    /// `cache_hits` over all GETs; 0 when there was none.
    pub cache_hit_ratio: f64,
    /// GETs and writes since the last reset.
    pub total_requests: u64,
    /// Unix seconds at which this process began to count.
    pub started_at: f64,
    /// Requests really sent, per shard.
    pub shard_requests: Vec<ShardRequests>,
    /// The same since this process started; no reset lowers it.
    pub shard_requests_total: Vec<ShardRequests>,
    /// The most accessed keys since the last reset, most first.
    pub top_keys: Vec<TopKey>,
}
