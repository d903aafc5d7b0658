//! `/data` of shard and gateway.
//!
//! A process that passes keys or values on without a copy sets the type parameters: `K` to `&Key` or [`KeyText`], `V` to
//! serde's `IgnoredAny` or `serde_json`'s `&RawValue`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

use crate::{Key, ShardId};

/// A key as it stands in an answer: borrowed where it has no escapes, and not checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyText<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// A shard's answer to `GET /data/{key}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardGet<K = Key, V = Map<String, Value>> {
    /// The requested key.
    pub key: K,
    /// The stored value, an object.
    pub value: V,
    /// The shard that answers.
    pub shard_id: ShardId,
    /// Whether the key existed before this request.
    pub found: bool,
    /// Present and true when the shard made the value on the spot.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_created: bool,
}

/// A shard's answer to `POST /data`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardSet<K = Key> {
    /// The key that was written.
    pub key: K,
    /// The shard that holds it.
    pub shard_id: ShardId,
    /// Always [`super::STORED`].
    pub status: Cow<'static, str>,
}

/// The gateway's answer to `GET /data/{key}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayGet<K = Key, V = Map<String, Value>> {
    /// The requested key.
    pub key: K,
    /// The stored value, or the cached copy of it.
    pub value: V,
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
pub struct GatewaySet<K = Key> {
    /// The key that was written.
    pub key: K,
    /// The shard that holds it.
    pub shard_id: ShardId,
    /// Always [`super::STORED`].
    pub status: Cow<'static, str>,
    /// Milliseconds in the gateway, to two decimals.
    pub latency_ms: f64,
}
