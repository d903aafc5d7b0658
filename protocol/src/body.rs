//! Declares each JSON body of the wire contract once.
//!
//! Both ends use the same declaration. Fields are in the order in which they are written. The values of `status`
//! fields are the constants here.

mod admin;
mod data;
mod gateway;
mod load;
mod mitigation;
mod peers;
mod scenarios;
mod shard;
mod what_if;

pub use admin::{CacheChange, CacheState, CacheSwitched, HotKeys, ShardMapping};
pub use data::{GatewayGet, GatewaySet, KeyText, ShardGet, ShardSet};
pub use gateway::{
    BreakerState, GatewayCounts, GatewayHealth, GatewayReset, GatewayStats, ShardBreaker, ShardRequests,
};
pub use load::{
    AnswerFault, LoadCheck, LoadHottestKey, LoadRefusal, LoadRefused, LoadReport, LoadSentKey, LoadShard,
    LoadStore, LoadStream, LoadStreamShard, LoadThreshold, Quantiles, RefusalReason, UpstreamPrediction,
};
pub use mitigation::{
    AutoChoice, AutoState, CacheMode, MitigationChange, MitigationSettings, MitigationState, ReplicatedKey,
};
pub use peers::{FailedGateway, Gateways, PeerState, StampedValue};
pub use scenarios::{
    OfferedScenario, RunningScenario, ScenarioEnd, ScenarioOutcome, ScenarioOverview, ScenarioRequest,
};
pub use shard::{ShardHealth, ShardReset, ShardStats};
pub use what_if::{OfferedLoad, WhatIf, WhatIfMitigation, WhatIfOption, WhatIfSettings};

use serde::{Deserialize, Serialize};

use crate::Key;

/// The `status` of `/health`.
pub const OK: &str = "ok";
/// The `status` of a completed write.
pub const STORED: &str = "stored";
/// The `status` of `POST /admin/reset`.
pub const RESET: &str = "reset";

/// One key with its count, an entry of `top_keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopKey {
    /// The key.
    pub key: Key,
    /// Upper bound of the accesses: the true number is in `count - error ..= count`.
    pub count: u64,
    /// How much of `count` may belong to other keys; 0 while counting is exact.
    pub error: u64,
}

/// One key above the shard's hot-key threshold, an entry of `hot_keys`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HotKey {
    /// The key.
    pub key: Key,
    /// The key's share of the shard's accesses in the window, 0 … 1.
    pub ratio: f64,
    /// The key's accesses in the window.
    pub count: u64,
}
