//! What a comparison gives.

use protocol::probe_api::{Comparison, HotKeyOverlap};

/// A comparison of all shards at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Unix seconds.
    pub taken_at: f64,
    /// Per shard, in order of id.
    pub shards: Vec<Comparison>,
    /// Per shard, in order of id; empty where one of the witnesses cannot be read.
    pub hot_keys: Vec<HotKeyOverlap>,
}
