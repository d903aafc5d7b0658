//! What the load generator reports, as far as xtask reads it.

use serde::{Deserialize, Serialize};

/// The report of one `load run`.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct LoadReport {
    pub(crate) duration_seconds: f64,
    pub(crate) offered_per_second: f64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) errors: u64,
    pub(crate) dropped: u64,
    pub(crate) cache_hits: u64,
    pub(crate) coalesced: u64,
    pub(crate) shards: Vec<ShardReport>,
    pub(crate) hottest_key: Option<HottestKey>,
    /// Only with the cache on.
    pub(crate) predicted_upstream_per_second: Option<Upstream>,
    /// What xtask does not read, kept for the demo's own JSON.
    #[serde(flatten)]
    pub(crate) rest: serde_json::Map<String, serde_json::Value>,
}

/// One shard in the generator's answers.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct ShardReport {
    pub(crate) shard_id: u16,
    /// Of all requests, 0 … 1.
    pub(crate) predicted_share: f64,
    /// Answers that name this shard.
    pub(crate) answered: u64,
    /// Those of them that were fetched from the shard.
    pub(crate) upstream_requests: u64,
    /// Milliseconds from the scheduled time; absent without answers.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p95_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

/// The key that the scenario asks most for.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct HottestKey {
    pub(crate) key: String,
    /// Of all requests, 0 … 1.
    pub(crate) predicted_share: f64,
    pub(crate) sent: u64,
}

/// Predicted requests per second that reach a shard.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
pub(crate) struct Upstream {
    /// On average over the run, from a cold cache.
    pub(crate) cold_start: f64,
    /// Once the cache is in its steady state.
    pub(crate) steady: f64,
}
