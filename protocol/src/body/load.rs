//! Declares the load generator's report and its refusal.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::Gateways;
use crate::ShardId;

/// The report of a run. An answer is valid if it has the expected status, key and shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The scenario's name in the k6 summaries, `stream` or `saturate`.
    pub scenario: String,
    /// The URL of the target, or the shards' URLs separated by commas.
    pub gateway: String,
    /// Seed of the key sequence.
    pub seed: u64,
    /// Length of the load in seconds.
    pub duration_seconds: f64,
    /// Planned requests a second; absent in a closed loop.
    pub offered_per_second: Option<f64>,
    /// Sent requests a second.
    pub achieved_per_second: f64,
    /// Sent requests: `answered` + `errors`.
    pub sent: u64,
    /// Valid answers.
    pub answered: u64,
    /// Requests without a valid answer.
    pub errors: u64,
    /// `errors` by kind.
    pub error_kinds: BTreeMap<AnswerFault, u64>,
    /// Requests not sent because too many were in flight. A run with dropped requests is refused.
    pub dropped: u64,
    /// Valid answers from the cache.
    pub cache_hits: u64,
    /// Valid answers from another request's fetch.
    pub coalesced: u64,
    /// Longest time from due to sent, in milliseconds.
    pub max_send_lag_ms: f64,
    /// The counts by shard, in order of id.
    pub shards: Vec<LoadShard>,
    /// The key with the highest predicted share.
    pub hottest_key: Option<LoadHottestKey>,
    /// The keys with the most requests, most first, counted exactly; empty in an open loop.
    pub keys: Vec<LoadSentKey>,
    /// Latency of valid answers, measured from the time when the request was due.
    pub latency_ms: Quantiles,
    /// The counts by stream; empty in a closed loop.
    pub streams: Vec<LoadStream>,
    /// The thresholds of the run.
    pub thresholds: Vec<LoadThreshold>,
    /// The checks of every answer.
    pub checks: Vec<LoadCheck>,
    /// Predicted requests a second that reach a shard; absent without a cache.
    pub predicted_upstream_per_second: Option<UpstreamPrediction>,
    /// The same with the load spread evenly over all gateways that hold the cache; absent with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicted_upstream_of_gateways_per_second: Option<UpstreamPrediction>,
    /// At how many gateways the cache is on; absent without a cache, and if the gateway has no peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_gateways: Option<Gateways>,
    /// Cache entries before the first request; the cold-start prediction assumes 0. Absent without a cache.
    pub cache_entries_at_start: Option<u64>,
    /// What the run did to a store beside its load; absent with a gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<LoadStore>,
    /// Whether the figures would stay the same in a longer run.
    pub steady: bool,
    /// The reason for `steady`.
    pub steady_reason: String,
}

/// Commands to a Redis or Valkey store beside the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadStore {
    /// `SET` commands before the load, one for each key that is read.
    pub seeded: u64,
    /// Commands of the load that a node redirected with `MOVED` or `ASK`. Each was sent once more.
    pub redirected: u64,
}

/// Quantiles of latency in ms; absent without a valid answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// Maximum.
    pub max: Option<f64>,
}

/// One shard in the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadShard {
    /// The shard.
    pub shard_id: ShardId,
    /// Predicted share of all requests, 0 … 1.
    pub predicted_share: f64,
    /// Valid answers that name the shard.
    pub answered: u64,
    /// Valid answers from the shard itself, neither from the cache nor from another request's fetch.
    pub upstream_requests: u64,
    /// Median latency of the answers from the shard itself, in ms; absent without answers.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

/// The hottest key of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadHottestKey {
    /// The key with the highest predicted share.
    pub key: String,
    /// Predicted share of all requests, 0 … 1.
    pub predicted_share: f64,
    /// Requests for the key.
    pub sent: u64,
}

/// A key and the number of its requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSentKey {
    /// The key.
    pub key: String,
    /// Requests for the key.
    pub sent: u64,
}

/// One stream in the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadStream {
    /// The stream's name in the scenario.
    pub name: String,
    /// Planned requests a second, averaged over the run.
    pub offered_per_second: f64,
    /// Sent requests.
    pub sent: u64,
    /// Valid answers.
    pub answered: u64,
    /// Requests without a valid answer.
    pub errors: u64,
    /// Latency of valid answers.
    pub latency_ms: Quantiles,
    /// The counts by shard, in order of id.
    pub shards: Vec<LoadStreamShard>,
}

/// One shard in the report of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadStreamShard {
    /// The shard.
    pub shard_id: ShardId,
    /// Valid answers of the stream that name the shard.
    pub answered: u64,
    /// Valid answers of the stream from the shard itself.
    pub upstream_requests: u64,
    /// Latency of the answers from the shard itself.
    pub latency_ms: Quantiles,
    /// Every latency in ms with its count; only with `--histograms`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<(f64, u64)>,
}

/// A threshold of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadThreshold {
    /// `p95_ms` or `error_share`.
    pub name: String,
    /// The value must be below this.
    pub limit: f64,
    /// The value; absent without an answer.
    pub value: Option<f64>,
    /// Whether the value is below the limit.
    pub ok: bool,
}

/// One check of all answers, the same as in the k6 scripts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadCheck {
    /// The name of the check.
    pub name: String,
    /// Answers that passed.
    pub passes: u64,
    /// Requests that failed the check.
    pub fails: u64,
}

/// Predicted requests a second that reach a shard through a cache with single-flight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamPrediction {
    /// Average over the run, starting with an empty cache.
    pub cold_start: f64,
    /// Standard error of `cold_start` over runs with other seeds.
    pub cold_start_standard_error: f64,
    /// The rate once the cache is steady.
    pub steady: f64,
}

/// Why an answer is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerFault {
    /// No answer was received.
    Transport,
    /// The status is not the expected one.
    Status,
    /// The body is not JSON, or lacks a field.
    Body,
    /// The answer names another key.
    WrongKey,
    /// The answer names another shard than the key's, or one that does not exist.
    WrongShard,
}

/// Written in place of a report when the figures would be meaningless (exit code 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRefused {
    /// The reason.
    pub refused: LoadRefusal,
}

/// The reason of a refused run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRefusal {
    /// Stable name for programs.
    pub reason: RefusalReason,
    /// One sentence for people, the same as on standard error.
    pub detail: String,
}

/// Why a run is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// Requests were not sent because too many were in flight: the lab is too slow for the rate.
    RequestsDropped,
    /// Too many requests were sent late: the generator's machine is too busy.
    SentLate,
    /// Fewer requests a second were sent than planned: the generator's machine is too busy.
    RateNotKept,
    /// Too few answers for percentiles.
    TooFewAnswers,
}

impl RefusalReason {
    /// Whether the generator's own machine is the cause, so that another run may succeed.
    #[must_use]
    pub fn is_busy_machine(self) -> bool {
        matches!(self, Self::SentLate | Self::RateNotKept)
    }
}
