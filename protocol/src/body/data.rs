//! Declares `/data` of shard and gateway.
//!
//! The type parameters let a process forward keys and values without a copy. Then `K` is `&Key` or [`KeyText`], and
//! `V` is serde's `IgnoredAny` or `serde_json`'s `&RawValue`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

use crate::{Key, ShardId};

/// A key in an answer: borrowed if it has no escapes, and not validated.
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
    /// Present and true if the shard created the value for this request.
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
    /// The shard that returned the value.
    pub shard_id: ShardId,
    /// Whether the answer came from the cache.
    pub cache_hit: bool,
    /// Milliseconds in the gateway, to two decimals.
    pub latency_ms: f64,
    /// Present and true if the request waited for the fetch of another request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub coalesced: bool,
    /// Present and true if the value is a copy past its time to live.
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
