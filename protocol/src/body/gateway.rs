//! `/health`, `/stats` and `/admin/reset` of the gateway.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use super::{MitigationState, TopKey};
use crate::placement::Scheme;
use crate::verdict::Verdict;
use crate::{Key, ShardId};

/// The gateway's `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayHealth {
    /// `api-gateway`.
    pub service: Cow<'static, str>,
    /// Always [`super::OK`].
    pub status: Cow<'static, str>,
}

/// The gateway's `POST /admin/reset`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayReset {
    /// Always [`super::RESET`].
    pub status: Cow<'static, str>,
}

/// Requests that the gateway sent to one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRequests {
    /// The shard.
    pub shard_id: ShardId,
    /// Requests sent to it.
    pub requests: u64,
}

/// The counts of the gateway's `/stats`; since the last reset where nothing else is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayCounts {
    /// How many shards keys are placed on.
    pub num_shards: u32,
    /// Whether the cache is on.
    pub cache_enabled: bool,
    /// Time to live of entries stored from now on, in seconds.
    pub cache_ttl_seconds: u64,
    /// Live entries in the cache.
    pub cache_size: u64,
    /// GETs answered from the cache.
    pub cache_hits: u64,
    /// GETs that caused a fetch.
    pub cache_misses: u64,
    /// GETs that waited for another's fetch.
    pub cache_coalesced: u64,
    /// `cache_hits` over all GETs; 0 when there was none.
    pub cache_hit_ratio: f64,
    /// GETs and writes.
    pub total_requests: u64,
    /// Unix seconds at which this process began to count.
    pub started_at: f64,
    /// Requests sent, per shard.
    pub shard_requests: Vec<ShardRequests>,
    /// The same since this process started; no reset lowers it.
    pub shard_requests_total: Vec<ShardRequests>,
    /// The most accessed keys, most first.
    pub top_keys: Vec<TopKey>,
}

/// The gateway's `GET /stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayStats {
    /// What it counted.
    #[serde(flatten)]
    pub counts: GatewayCounts,
    /// How keys are placed on shards.
    pub placement: Scheme,
    /// The verdict on the requests sent to the shards.
    pub verdict: Verdict<Key>,
    /// The mitigations in force, as `/admin/mitigation` returns them.
    pub mitigation: MitigationState,
}
