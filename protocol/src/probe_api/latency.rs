//! `/api/latency`: latencies of kernel and application, in buckets.

use serde::{Deserialize, Serialize};

/// One bucket: its upper bound in milliseconds (none for the last) and the requests in it alone.
pub type Bucket = (Option<f64>, u64);

/// `/api/latency`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// When they were read.
    pub taken_at: f64,
    /// In order of id.
    pub shards: Vec<ShardLatency>,
}

/// One shard's latencies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardLatency {
    /// Its position in `SHARD_URLS`.
    pub shard_id: u32,
    /// By the kernel, since it began to count; empty buckets left out.
    pub kernel: Vec<Bucket>,
    /// By the shard; absent where it cannot be read.
    pub app: Option<AppLatency>,
    /// Why it is absent.
    pub problem: Option<String>,
}

/// What a shard says of its requests, since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AppLatency {
    /// When this shard was read.
    pub taken_at: f64,
    /// Data requests received.
    pub requests: u64,
    /// Their durations from receipt to outcome, reads and writes together; shortest first.
    pub latency: Vec<Bucket>,
}

/// Quantiles in milliseconds, each the upper bound of the kernel's bucket: at most an eighth above the truth. Absent
/// where nothing was timed, or where the quantile lies above all buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The median.
    pub p50: Option<f64>,
    /// 95 of 100 lie below.
    pub p95: Option<f64>,
    /// 99 of 100 lie below.
    pub p99: Option<f64>,
    /// How many were timed.
    pub count: u64,
}
