//! Holds a comparison of all shards at one moment.

use std::sync::Arc;

use protocol::probe_api::{Comparison, HotKeyOverlap, StoreAnswer};

use crate::compare::reconcile::AppReading;

/// A comparison of all shards at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Unix seconds.
    pub(crate) taken_at: f64,
    /// Per shard, in order of id.
    pub(crate) shards: Vec<Comparison>,
    /// Per shard, in order of id. Empty where one of the witnesses cannot be read.
    pub(crate) hot_keys: Vec<HotKeyOverlap>,
    /// Per shard, in order of id, the application's counts. `None` where they cannot be read.
    pub(crate) apps: Vec<Option<AppReading>>,
    /// Whether another reading soon could make a comparison final.
    pub(crate) settling: bool,
    /// The answer about a store. `None` for the lab's shards.
    pub(crate) store: Option<Arc<StoreAnswer>>,
}
