//! Declares `/health`, `/stats` and `/admin/reset` of the gateway.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use super::{Gateways, MitigationState, TopKey};
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
    /// At how many gateways it was done; absent without peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Gateways>,
}

/// Requests that the gateway sent to one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardRequests {
    /// The shard.
    pub shard_id: ShardId,
    /// Requests sent to it.
    pub requests: u64,
}

/// The circuit breaker of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardBreaker {
    /// The shard.
    pub shard_id: ShardId,
    /// The present state.
    pub state: BreakerState,
    /// Number of times it opened since this process started.
    pub opened: u64,
    /// Requests that failed at once since this process started, because it was not closed.
    pub refused: u64,
}

/// The state of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// The shard answers.
    Closed,
    /// A check was answered. One request tries the shard.
    HalfOpen,
    /// Several calls in a row had no answer. Requests fail at once.
    Open,
}

/// The counts of the gateway's `/stats`, since the last reset unless noted otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayCounts {
    /// Number of shards that keys are placed on.
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
    /// GETs that waited for the fetch of another request.
    pub cache_coalesced: u64,
    /// `cache_hits` over all GETs; 0 without GETs.
    pub cache_hit_ratio: f64,
    /// GETs and writes.
    pub total_requests: u64,
    /// Unix seconds at which this process started counting.
    pub started_at: f64,
    /// Requests sent to each shard.
    pub shard_requests: Vec<ShardRequests>,
    /// Requests sent to each shard since this process started. A reset does not change them.
    pub shard_requests_total: Vec<ShardRequests>,
    /// The most accessed keys, most first.
    pub top_keys: Vec<TopKey>,
}

/// The gateway's `GET /stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayStats {
    /// The counts.
    #[serde(flatten)]
    pub counts: GatewayCounts,
    /// The shards' circuit breakers, in order of id.
    #[serde(default)]
    pub breakers: Vec<ShardBreaker>,
    /// How keys are placed on shards.
    pub placement: Scheme,
    /// The verdict on the requests sent to the shards.
    pub verdict: Verdict<Key>,
    /// The active mitigations, as returned by `/admin/mitigation`.
    pub mitigation: MitigationState,
}
