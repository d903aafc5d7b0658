//! Every metric of the gateway: name, help, labels.

use hotspot::export::hot_partition::HotPartition;
use hotspot::export::key_series::KeySeries;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use service::metrics::{Family, Metrics};
use std::num::NonZeroU32;

use crate::cache::Ended;
use crate::mitigation::MitigationMetrics;

/// The families of a gateway in front of `shards` shards, for their documentation.
///
/// # Errors
/// When two have one name.
pub fn families(shards: NonZeroU32) -> Result<Vec<Family>, prometheus::Error> {
    let metrics = Metrics::default();
    GatewayMetrics::register(&metrics, shards)?;
    MitigationMetrics::register(&metrics)?;
    service::traces::register(&metrics)?;
    Ok(metrics.families())
}

/// The gateway's metrics. Counters never fall, whatever is reset.
pub(crate) struct GatewayMetrics {
    pub(crate) shards: Vec<ShardMetrics>,
    pub(crate) hits: IntCounter,
    pub(crate) misses: IntCounter,
    pub(crate) coalesced: IntCounter,
    pub(crate) cache_size: IntGauge,
    pub(crate) keys: KeySeries,
    pub(crate) errors: IntCounterVec,
    pub(crate) hot_partition: HotPartition,
    pub(crate) stale: IntCounter,
    pub(crate) negative_hits: IntCounter,
    pub(crate) forwarded: IntCounter,
    /// In the order of [`crate::stats::CopyRead`].
    pub(crate) copy_reads: [IntCounter; 3],
    /// Those that failed, and those that were stored.
    pub(crate) copied: [IntCounter; 2],
    refreshes: [(Ended, IntCounter); 3],
}

/// The series of one shard.
pub(crate) struct ShardMetrics {
    pub(crate) gets_from_cache: IntCounter,
    pub(crate) gets: IntCounter,
    pub(crate) sets: IntCounter,
    pub(crate) get_duration: Histogram,
    pub(crate) set_duration: Histogram,
    pub(crate) sent: IntCounter,
}

impl GatewayMetrics {
    /// Registers everything; the series of all shards are there from the start, at 0.
    ///
    /// # Errors
    /// When a name is taken.
    pub(crate) fn register(metrics: &Metrics, shards: NonZeroU32) -> Result<Self, prometheus::Error> {
        let requests = metrics.counters(
            "gateway_requests_total",
            "Reads and writes by the key's home shard. cache_hit is true for reads answered from the cache.",
            &["operation", "shard_id", "cache_hit"],
        )?;
        let durations = metrics.durations(
            "gateway_request_duration_seconds",
            "Time in the gateway of answered reads and writes, errors included.",
            &["operation", "shard_id"],
        )?;
        let sent = metrics.counters(
            "gateway_shard_distribution_total",
            "Requests sent to a shard, without cache hits and failed connections.",
            &["shard_id"],
        )?;
        let hot_partition = HotPartition::register("", shards.get(), |family| metrics.collector(family))?;
        let shards = (0..shards.get())
            .map(|id| {
                let id = id.to_string();
                Ok(ShardMetrics {
                    gets_from_cache: requests.get_metric_with_label_values(&["get", &id, "true"])?,
                    gets: requests.get_metric_with_label_values(&["get", &id, "false"])?,
                    sets: requests.get_metric_with_label_values(&["set", &id, "false"])?,
                    get_duration: durations.get_metric_with_label_values(&["get", &id])?,
                    set_duration: durations.get_metric_with_label_values(&["set", &id])?,
                    sent: sent.get_metric_with_label_values(&[&id])?,
                })
            })
            .collect::<Result<_, prometheus::Error>>()?;
        let refreshes = metrics.counters(
            "gateway_cache_refreshes_total",
            "Background fetches for a copy that is still served, by result: stored, failed (the copy stays), overtaken by a write.",
            &["result"],
        )?;
        let refreshes = [
            (Ended::Stored, refreshes.get_metric_with_label_values(&["stored"])?),
            (Ended::Failed, refreshes.get_metric_with_label_values(&["failed"])?),
            (Ended::Overtaken, refreshes.get_metric_with_label_values(&["overtaken"])?),
        ];
        let copy_reads = metrics.counters(
            "gateway_replica_reads_total",
            "Reads of a replicated key sent to a copy, by result: served; overtaken by a write or lost, and then read at home.",
            &["result"],
        )?;
        let copied = metrics.counters(
            "gateway_replica_writes_total",
            "Copies of replicated keys sent to shards, by result: stored or failed.",
            &["result"],
        )?;
        let key_family = metrics.counters(
            "gateway_key_access_total",
            "Reads and writes of a tracked key, counted since the key has a series.",
            &["key"],
        )?;
        let untracked = metrics.counter(
            "gateway_key_access_untracked_total",
            "Reads and writes of keys without a series at that moment.",
        )?;
        Ok(Self {
            shards,
            hits: metrics.counter("gateway_cache_hits_total", "Reads answered from the cache.")?,
            misses: metrics.counter(
                "gateway_cache_misses_total",
                "Reads that caused a fetch; with the cache off, every read.",
            )?,
            coalesced: metrics.counter(
                "gateway_cache_coalesced_total",
                "Reads that waited for the fetch of another read of the same key.",
            )?,
            cache_size: metrics.gauge("gateway_cache_size", "Entries in the cache; may include some that expired in the last second.")?,
            hot_partition,
            stale: metrics.counter(
                "gateway_cache_stale_total",
                "Reads answered with a copy past its time to live, while a fetch replaces it.",
            )?,
            copy_reads: [
                copy_reads.get_metric_with_label_values(&["served"])?,
                copy_reads.get_metric_with_label_values(&["overtaken"])?,
                copy_reads.get_metric_with_label_values(&["lost"])?,
            ],
            copied: [copied.get_metric_with_label_values(&["failed"])?, copied.get_metric_with_label_values(&["stored"])?],
            forwarded: metrics.counter(
                "gateway_bounded_load_forwarded_total",
                "Reads forwarded to another shard because the home had too much in flight (PLACEMENT=bounded).",
            )?,
            negative_hits: metrics.counter(
                "gateway_negative_cache_hits_total",
                "Reads answered from the negative cache with the error of an earlier read.",
            )?,
            refreshes,
            keys: KeySeries::new(key_family, &[], untracked),
            errors: metrics.counters(
                "gateway_errors_total",
                "Reads, writes and admin calls answered with an error, by blame (client, shard, gateway).",
                &["blame", "kind"],
            )?,
        })
    }

    /// The counter of refreshes that ended so.
    pub(crate) fn refreshes(&self, ended: Ended) -> &IntCounter {
        let [(_, first), ..] = &self.refreshes;
        self.refreshes.iter().find(|(other, _)| *other == ended).map_or(first, |(_, counter)| counter)
    }
}
