//! All metrics of a shard.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use protocol::ShardId;
use service::metrics::Metrics;

/// The operation of a data request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `GET /data/{key}`.
    Get,
    /// `POST /data`.
    Set,
}

impl Operation {
    const ALL: [Self; 2] = [Self::Get, Self::Set];

    fn label(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
        }
    }
}

/// One metric per operation.
pub struct ByOperation<T>([T; 2]);

impl<T> ByOperation<T> {
    fn new(make: impl Fn(&str) -> T) -> Self {
        Self(Operation::ALL.map(|operation| make(operation.label())))
    }

    /// The metric of `operation`.
    pub fn of(&self, operation: Operation) -> &T {
        match operation {
            Operation::Get => &self.0[0],
            Operation::Set => &self.0[1],
        }
    }

    /// The metrics of both operations.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

/// The metrics of one shard. The label `shard_id` is already set if it is the only label that varies.
pub struct ShardMetrics {
    /// `shard_requests_total{shard_id,operation}`: data requests received.
    pub received: ByOperation<IntCounter>,
    /// `shard_request_duration_seconds{shard_id,operation}`: time from receipt to outcome, for every outcome.
    pub duration: ByOperation<Histogram>,
    /// `shard_requests_served_total{shard_id}`: data requests answered with success.
    pub served: IntCounter,
    /// `shard_requests_rejected_total{shard_id}`: data requests refused or abandoned.
    pub rejected: IntCounter,
    /// `shard_requests_shed_total{shard_id}`: data requests refused because the queue was full.
    pub shed: IntCounter,
    /// `shard_active_requests{shard_id}`: requests in service plus waiting.
    pub active: IntGauge,
    /// `shard_active_requests_limit{shard_id}`: limit of the active requests. Without a limit there is no series.
    pub active_limit: IntGaugeVec,
    /// `shard_stored_keys{shard_id}`: number of stored keys.
    pub stored_keys: IntGauge,
    /// `shard_stored_bytes{shard_id}`: size of the store in bytes.
    pub stored_bytes: IntGauge,
    /// `shard_hot_key_detected{shard_id,key}`: 1 while the key is hot. Otherwise there is no series.
    pub hot_key: IntGaugeVec,
    /// `shard_key_access_total{shard_id,key}`: data requests for tracked keys.
    pub key_access: IntCounterVec,
    /// `shard_key_access_untracked_total{shard_id}`: all other data requests, including those without a valid key.
    pub key_access_untracked: IntCounter,
}

impl ShardMetrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// A metric is already registered.
    pub fn register(metrics: &Metrics, shard_id: ShardId) -> Result<Self, prometheus::Error> {
        let id = shard_id.to_string();
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            Ok(metrics.counters(name, help, &["shard_id"])?.with_label_values(&[&id]))
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            Ok(metrics.gauges(name, help, &["shard_id"])?.with_label_values(&[&id]))
        };
        let received = metrics.counters(
            "shard_requests_total",
            "Data requests received, counted before any check",
            &["shard_id", "operation"],
        )?;
        let duration = metrics.durations(
            "shard_request_duration_seconds",
            "Time from the receipt of a data request to its outcome",
            &["shard_id", "operation"],
        )?;
        Ok(Self {
            received: ByOperation::new(|operation| received.with_label_values(&[id.as_str(), operation])),
            duration: ByOperation::new(|operation| duration.with_label_values(&[id.as_str(), operation])),
            served: counter("shard_requests_served_total", "Data requests answered with their value")?,
            rejected: counter(
                "shard_requests_rejected_total",
                "Data requests answered with 4xx or 507, or abandoned by the client",
            )?,
            shed: counter(
                "shard_requests_shed_total",
                "Data requests answered with 503 because the queue was full",
            )?,
            active: gauge("shard_active_requests", "Requests in service or queued")?,
            active_limit: metrics.gauges(
                "shard_active_requests_limit",
                "Largest number of requests in service or queued; more are shed",
                &["shard_id"],
            )?,
            stored_keys: gauge("shard_stored_keys", "Keys in the store")?,
            stored_bytes: gauge("shard_stored_bytes", "Bytes in the store, counted as for SHARD_MAX_BYTES")?,
            hot_key: metrics.gauges(
                "shard_hot_key_detected",
                "1 for a key with more than 30 % of this shard's accesses in the last 10 s; else absent",
                &["shard_id", "key"],
            )?,
            key_access: metrics.counters(
                "shard_key_access_total",
                "Accesses to a tracked key, counted since the key has a series",
                &["shard_id", "key"],
            )?,
            key_access_untracked: counter(
                "shard_key_access_untracked_total",
                "Data requests for keys without a series, and requests refused before their key was known",
            )?,
        })
    }
}
