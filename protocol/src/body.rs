//! The JSON bodies of the wire contract, each declared once for both ends.
//!
//! Fields stand in the order in which they are written. A writer's status word is one of the constants here.

mod admin;
mod data;
mod gateway;
mod load;
mod mitigation;
mod scenarios;
mod shard;
mod what_if;

pub use admin::{CacheChange, CacheState, HotKeys, ShardMapping};
pub use data::{GatewayGet, GatewaySet, KeyText, ShardGet, ShardSet};
pub use gateway::{GatewayCounts, GatewayHealth, GatewayReset, GatewayStats, ShardRequests};
pub use load::{
    AnswerFault, LoadCheck, LoadHottestKey, LoadRefusal, LoadRefused, LoadReport, LoadSentKey, LoadShard,
    LoadStream, LoadStreamShard, LoadThreshold, Quantiles, RefusalReason, UpstreamPrediction,
};
pub use mitigation::{
    AutoChoice, AutoState, CacheMode, MitigationChange, MitigationSettings, MitigationState, ReplicatedKey,
};
pub use scenarios::{
    OfferedScenario, RunningScenario, ScenarioEnd, ScenarioOutcome, ScenarioOverview, ScenarioRequest,
};
pub use shard::{ShardHealth, ShardReset, ShardStats};
pub use what_if::{OfferedLoad, WhatIf, WhatIfMitigation, WhatIfOption, WhatIfSettings};

use serde::{Deserialize, Serialize};

use crate::Key;

/// The status word of `/health`.
pub const OK: &str = "ok";
/// The status word of a write that was done.
pub const STORED: &str = "stored";
/// The status word of `POST /admin/reset`.
pub const RESET: &str = "reset";

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
