//! Declares `/admin/what-if` of the gateway.

use serde::{Deserialize, Serialize};

use crate::placement::Scheme;
use crate::{Key, ShardId};

/// The answer to `GET /admin/what-if`: the predicted effect of each mitigation on the offered load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhatIf {
    /// The load of the last ten full seconds.
    pub offered: OfferedLoad,
    /// The mitigations, sorted by the share of the hottest shard, smallest first; empty without enough traffic.
    pub options: Vec<WhatIfOption>,
    /// The reason if there are no options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Client requests by home shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfferedLoad {
    /// Reads and writes.
    pub requests: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Measured length of the window in seconds.
    pub window_seconds: f64,
    /// `requests` over `window_seconds`.
    pub requests_per_second: f64,
    /// Share of each shard, 0 … 1.
    pub shares: Vec<f64>,
    /// Largest shard over the mean; absent without requests.
    pub max_over_mean: Option<f64>,
    /// The key with the most requests.
    pub top_key: Option<Key>,
    /// The top key's share of all requests.
    pub top_key_share: Option<f64>,
}

/// One mitigation and its predicted effect. Shares refer to all client requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WhatIfOption {
    /// The mitigation.
    pub mitigation: WhatIfMitigation,
    /// The settings of the prediction.
    pub settings: WhatIfSettings,
    /// Share of the hottest shard.
    pub hottest_shard_share: f64,
    /// The hottest shard; absent if it cannot be predicted.
    pub shard_id: Option<ShardId>,
    /// Largest shard over the mean.
    pub max_over_mean: f64,
    /// Share of each shard.
    pub shares: Vec<f64>,
    /// Sum of `shares`: below 1 with a cache, above 1 when writes go to copies.
    pub shard_load: f64,
    /// Share of requests that are served by another shard than the key's home.
    pub elsewhere: f64,
    /// Remarks, for people.
    pub note: String,
}

/// A mitigation of [`WhatIf`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhatIfMitigation {
    /// No change.
    Nothing,
    /// A cache of all keys.
    Cache,
    /// A cache of the hot keys.
    HotOnlyCache,
    /// Copies of the hot keys.
    Replication,
    /// Any other placement, on average.
    Placement,
    /// Placement with bounded load.
    BoundedLoad,
    /// Modulo placement.
    Modulo,
    /// Jump placement.
    Jump,
    /// Rendezvous placement.
    Rendezvous,
}

/// The settings of a prediction. Settings that the mitigation does not have are absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WhatIfSettings {
    /// Number of shards that hold each hot key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copies: Option<usize>,
    /// Number of cache entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<usize>,
    /// The part above its fair share that a shard may get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Maximum number of replicated keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// How keys are placed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Scheme>,
    /// Time to live, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}
