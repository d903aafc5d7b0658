//! Declares `/api/latency`: latencies of kernel and application in buckets.

use serde::{Deserialize, Serialize};

/// One bucket: its upper bound in milliseconds (`None` for the last one) and its own number of requests, not
/// cumulative.
pub type Bucket = (Option<f64>, u64);

/// `/api/latency`: the latencies of all shards.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// When the latencies were read.
    pub taken_at: f64,
    /// The shards, in order of id.
    pub shards: Vec<ShardLatency>,
}

/// One shard's latencies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardLatency {
    /// The shard's position in `SHARD_URLS`.
    pub shard_id: u32,
    /// Latencies measured by the kernel since it started counting; empty buckets are left out.
    pub kernel: Vec<Bucket>,
    /// Latencies measured by the shard; absent if it cannot be read.
    pub app: Option<AppLatency>,
    /// Why `app` is absent.
    pub problem: Option<String>,
}

/// The shard's own latencies since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AppLatency {
    /// When this shard was read.
    pub taken_at: f64,
    /// Data requests received.
    pub requests: u64,
    /// Durations from receipt to outcome, reads and writes together; shortest first.
    pub latency: Vec<Bucket>,
}

/// Quantiles in milliseconds. Each is the upper bound of the kernel's bucket: at most an eighth above the true value.
/// Absent without measured requests, or if the quantile is above all buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Number of measured requests.
    pub count: u64,
}
