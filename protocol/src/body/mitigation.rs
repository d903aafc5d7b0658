//! Declares `/admin/mitigation` of the gateway.

use serde::{Deserialize, Serialize};

use super::Gateways;
use crate::{Key, ShardId};

/// The keys that the cache admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// No keys.
    Off,
    /// All keys.
    All,
    /// Hot keys only.
    HotOnly,
}

/// The switches of the mitigations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MitigationSettings {
    /// The keys that the cache admits.
    pub cache: CacheMode,
    /// Time to live of entries stored from now on, in seconds: 1 … 86,400.
    pub ttl_seconds: u64,
    /// Whether a copy past its time to live is served while a fetch refreshes it.
    pub stale_while_revalidate: bool,
    /// How long past its time to live a copy is served, in seconds: 1 … 3,600.
    pub stale_seconds: u64,
    /// Whether a shard's error is cached.
    pub negative_caching: bool,
    /// How long an error is cached, in milliseconds: 10 … 60,000.
    pub negative_ttl_ms: u64,
    /// Number of shards that hold each hot key; 1 is off.
    pub replication: u64,
    /// Maximum number of replicated keys: 1 … 64.
    pub replicated_keys: u64,
}

/// The answer to `GET` and `POST /admin/mitigation`, and `mitigation` of `/stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MitigationState {
    /// The switches of the mitigations.
    #[serde(flatten)]
    pub settings: MitigationSettings,
    /// Maximum number of entries of the hot-only cache.
    pub hot_entries: usize,
    /// The currently hot keys; empty while no mitigation needs them.
    pub hot_keys: Vec<Key>,
    /// The replicated keys.
    pub replicated: Vec<ReplicatedKey>,
    /// The state of auto mode.
    pub auto: AutoState,
    /// At how many gateways the settings hold; absent without peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<Gateways>,
}

/// A replicated key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicatedKey {
    /// The key.
    pub key: Key,
    /// The shards that may serve reads of the key now, its home first.
    pub replicas: Vec<ShardId>,
}

/// `auto` of [`MitigationState`]: the state of auto mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AutoState {
    /// Whether the gateway sets `cache` and `replication` itself.
    pub enabled: bool,
    /// The mitigation that auto mode has chosen.
    pub chosen: Option<AutoChoice>,
    /// The reason for the choice, in one sentence.
    pub reason: Option<String>,
    /// Unix seconds of the choice.
    pub since: Option<f64>,
}

/// A mitigation that auto mode can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoChoice {
    /// A cache of the hot keys.
    HotOnlyCache,
    /// Copies of the hot keys.
    Replication,
}

/// The body of `POST /admin/mitigation`; a missing field keeps its value. Ranges as in [`MitigationSettings`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MitigationChange {
    /// The keys that the cache admits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheMode>,
    /// Time to live of entries stored from now on, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// Whether a copy past its time to live is served while a fetch refreshes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<bool>,
    /// How long past its time to live a copy is served, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_seconds: Option<u64>,
    /// Whether a shard's error is cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_caching: Option<bool>,
    /// How long an error is cached, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_ttl_ms: Option<u64>,
    /// Number of shards that hold each hot key; 1 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication: Option<u64>,
    /// Maximum number of replicated keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicated_keys: Option<u64>,
    /// Whether the gateway sets `cache` and `replication` itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto: Option<bool>,
}
