//! What a report says of one of its streams.

use serde::{Deserialize, Serialize};

use crate::report::Quantiles;
use crate::scenario::Stream;
use crate::tally::{ShardTally, Tally};

/// One stream in the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Which.
    pub name: String,
    /// Requests a second asked for, averaged over the run.
    pub offered_per_second: f64,
    /// Requests sent.
    pub sent: u64,
    /// Right answers.
    pub answered: u64,
    /// The others.
    pub errors: u64,
    /// Latency of right answers.
    pub latency_ms: Quantiles,
    /// By shard.
    pub shards: Vec<StreamShardReport>,
}

/// One shard in the report of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamShardReport {
    /// Which.
    pub shard_id: u32,
    /// Right answers of the stream that name it.
    pub answered: u64,
    /// Those for which it was asked.
    pub upstream_requests: u64,
    /// Their latency.
    pub latency_ms: Quantiles,
    /// Every latency in ms and how often it was; only when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<(f64, u64)>,
}

impl StreamReport {
    /// A stream and its books; with every latency if `histograms`.
    #[must_use]
    pub fn new(stream: &Stream, tally: &Tally, histograms: bool) -> Self {
        Self {
            name: stream.name.to_owned(),
            offered_per_second: stream.mean_rate(),
            sent: tally.sent,
            answered: tally.answered,
            errors: tally.errors(),
            latency_ms: Quantiles::of(&tally.latencies),
            shards: (0u32..)
                .zip(&tally.shards)
                .map(|(id, shard)| StreamShardReport::new(id, shard, histograms))
                .collect(),
        }
    }
}

impl StreamShardReport {
    fn new(shard_id: u32, shard: &ShardTally, histograms: bool) -> Self {
        Self {
            shard_id,
            answered: shard.answered,
            upstream_requests: shard.upstream,
            latency_ms: Quantiles::of(&shard.latencies),
            histogram: if histograms { shard.latencies.counts() } else { Vec::new() },
        }
    }
}
