//! Declares the probe's JSON: `/status`, `/api/*`, events of the live page.
//!
//! A figure that is unknown is absent or null. Times are in unix seconds.

mod compare;
mod counts;
mod events;
mod latency;
mod node;
mod status;
mod store;

pub use compare::{CauseKind, Compare, Comparison, HotKey, HotKeyOverlap, VerdictDifference, Verdicts};
pub use counts::{
    ByDirection, ByOperation, ConnectionCounts, GatewayReadout, Gateways, KernelKey, KeyTables,
    PreexistingConnections, ShardCounts, ShardKeyTable, Shards,
};
pub use events::{PageLinks, PastSecond, PastSeconds, Second, SecondOfShard, ShardRates};
pub use latency::{AppLatency, Bucket, Latencies, Quantiles, ShardLatency};
pub use node::{
    NODE_VERSION, NodeApp, NodeConnections, NodeDetails, NodeKeys, NodeLatency, NodeReport, NodeRequests,
    NodeShard, NodeUnwatched,
};
pub use status::{
    Counting, Feature, MapFill, NodeStatus, PinnedCounting, PreflightFinding, PrivilegeStatus, ProbeStatus,
    ProgramRuns, ProgramStatus, SelfStatus, ShardTarget,
};
pub use store::{
    CommandComparison, NewBaseline, StoreAnswer, StoreException, StoreKey, StoreMeasure, StoreMitigation,
    StoreNode, StoreReconciliation, StoreResult, Untimed,
};

use serde::{Deserialize, Serialize};

/// Data of one shard with the shard's number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OfShard<T> {
    /// The shard's position in `SHARD_URLS`.
    pub shard_id: u32,
    /// The data.
    #[serde(flatten)]
    pub of_shard: T,
}

impl<T> OfShard<T> {
    /// Numbers data that is in order of shard id.
    pub fn numbered(shards: impl IntoIterator<Item = T>) -> Vec<Self> {
        (0..).zip(shards).map(|(shard_id, of_shard)| Self { shard_id, of_shard }).collect()
    }
}

/// Data of all shards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfShards<T> {
    /// The shards, in order of id.
    pub shards: Vec<OfShard<T>>,
}

impl<T> Default for OfShards<T> {
    fn default() -> Self {
        Self { shards: Vec::new() }
    }
}
