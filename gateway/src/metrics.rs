//! All metrics of the gateway: name, help text, labels.

pub(crate) mod breakers;

use hotspot::export::hot_partition::HotPartition;
use hotspot::export::key_series::KeySeries;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use service::metrics::{Family, Metrics};
use service::overload::Overload;
use std::num::NonZeroU32;
use std::sync::Arc;

use self::breakers::BreakerMetrics;

/// All metric families of a gateway in front of `shards` shards, for the generated documentation.
///
/// # Errors
/// Two families have the same name.
pub fn families(shards: NonZeroU32) -> Result<Vec<Family>, prometheus::Error> {
    let metrics = Metrics::default();
    GatewayMetrics::register(&metrics, shards)?;
    MitigationMetrics::register(&metrics)?;
    PeerMetrics::register(&metrics)?;
    BreakerMetrics::register(&metrics, shards)?;
    service::traces::register(&metrics)?;
    Overload::default().register(&metrics)?;
    Ok(metrics.families())
}

/// The gateway's metrics. Counters never decrease, not even at a reset.
pub(crate) struct GatewayMetrics {
    pub(crate) shards: Vec<ShardMetrics>,
    pub(crate) hits: IntCounter,
    pub(crate) misses: IntCounter,
    pub(crate) coalesced: IntCounter,
    pub(crate) cache_size: IntGauge,
    pub(crate) keys: Arc<KeySeries>,
    pub(crate) errors: IntCounterVec,
    pub(crate) hot_partition: HotPartition,
    pub(crate) stale: IntCounter,
    pub(crate) negative_hits: IntCounter,
    pub(crate) routing: RoutingMetrics,
    /// Background refreshes that stored a value, failed, and were overtaken, in this order.
    pub(crate) refreshes: [IntCounter; 3],
}

/// Counters of requests that go to other shards than the key's home.
#[derive(Clone)]
pub(crate) struct RoutingMetrics {
    pub(crate) forwarded: IntCounter,
    pub(crate) copy_served: IntCounter,
    pub(crate) copy_overtaken: IntCounter,
    pub(crate) copy_lost: IntCounter,
    pub(crate) copy_stored: IntCounter,
    pub(crate) copy_failed: IntCounter,
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
    /// Registers all metrics. The series of all shards exist from the start, with value 0.
    ///
    /// # Errors
    /// A name is already registered.
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
            "Background refreshes of cached values, by result: stored, failed (the old one stays), overtaken by a write.",
            &["result"],
        )?;
        let copy_reads = metrics.counters(
            "gateway_replica_reads_total",
            "Reads of a replicated key sent to a copy, by result: served, or read at home after all, because it was \
             overtaken by a write or lost.",
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
            "Reads and writes of keys that had no series at the time.",
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
            cache_size: metrics.gauge(
                "gateway_cache_size",
                "Entries in the cache, including some that expired in the last second.",
            )?,
            hot_partition,
            stale: metrics.counter(
                "gateway_cache_stale_total",
                "Reads answered with a copy past its time to live, while a fetch replaces it.",
            )?,
            negative_hits: metrics.counter(
                "gateway_negative_cache_hits_total",
                "Reads answered from the negative cache with the error of an earlier read.",
            )?,
            refreshes: [
                refreshes.get_metric_with_label_values(&["stored"])?,
                refreshes.get_metric_with_label_values(&["failed"])?,
                refreshes.get_metric_with_label_values(&["overtaken"])?,
            ],
            routing: RoutingMetrics {
    forwarded: metrics.counter(
                    "gateway_bounded_load_forwarded_total",
                    "Reads forwarded to another shard because the home had too many requests in flight (PLACEMENT=bounded).",
                )?,
                copy_served: copy_reads.get_metric_with_label_values(&["served"])?,
                copy_overtaken: copy_reads.get_metric_with_label_values(&["overtaken"])?,
                copy_lost: copy_reads.get_metric_with_label_values(&["lost"])?,
                copy_stored: copied.get_metric_with_label_values(&["stored"])?,
                copy_failed: copied.get_metric_with_label_values(&["failed"])?,
            },
            keys: Arc::new(KeySeries::new(key_family, &[], untracked)),
            errors: metrics.counters(
                "gateway_errors_total",
                "Error responses to reads, writes and admin calls, by blame (client, shard, gateway). shard_id is empty \
                 unless a shard is to blame.",
                &["blame", "kind", "shard_id"],
            )?,
        })
    }
}

/// Values of the label `mitigation`.
pub(crate) const MITIGATIONS: [&str; 6] =
    ["cache", "hot_only_cache", "stale_while_revalidate", "negative_caching", "replication", "auto"];

/// The cause of a change of the mitigations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangedBy {
    /// A call of `/admin/mitigation` or `/admin/cache`.
    Request,
    /// The gateway, in `auto` mode.
    Auto,
    /// The settings of another gateway.
    Peer,
}

impl ChangedBy {
    const ALL: [Self; 3] = [Self::Request, Self::Auto, Self::Peer];

    /// The value of the label `reason`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Auto => "auto",
            Self::Peer => "peer",
        }
    }
}

/// State and number of changes of each mitigation.
pub(crate) struct MitigationMetrics(Vec<Series>);

struct Series {
    enabled: IntGauge,
    changes: Vec<(ChangedBy, IntCounter)>,
}

impl MitigationMetrics {
    /// Registers the metrics. All series exist from the start.
    ///
    /// # Errors
    /// A name is already registered.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let enabled = metrics.gauges(
            "gateway_mitigation_enabled",
            "1 for a mitigation that is on, else 0",
            &["mitigation"],
        )?;
        let changes = metrics.counters(
            "gateway_mitigation_changes_total",
            "Switches of a mitigation on or off, by request, auto or another gateway.",
            &["mitigation", "reason"],
        )?;
        let series = |name: &&str| {
            let by = |reason: ChangedBy| {
                Ok((reason, changes.get_metric_with_label_values(&[*name, reason.label()])?))
            };
            let changes = ChangedBy::ALL.map(by).into_iter().collect::<Result<_, prometheus::Error>>()?;
            Ok(Series { enabled: enabled.get_metric_with_label_values(&[*name])?, changes })
        };
        Ok(Self(MITIGATIONS.iter().map(series).collect::<Result<_, prometheus::Error>>()?))
    }

    /// Sets the gauges to `on`, in the order of [`MITIGATIONS`]. Counts the changes under `reason`.
    pub(crate) fn show(&self, on: [bool; MITIGATIONS.len()], reason: Option<ChangedBy>) {
        for (series, on) in self.0.iter().zip(on) {
            if series.enabled.get() != i64::from(on) {
                let by = series.changes.iter().filter(|(by, _)| reason == Some(*by));
                by.for_each(|(_, changes)| changes.inc());
            }
            series.enabled.set(i64::from(on));
        }
    }
}

/// Exchanges with other gateways, and where the settings hold.
pub(crate) struct PeerMetrics {
    pub(crate) answered: IntCounter,
    pub(crate) failed: IntCounter,
    pub(crate) holding: IntGauge,
    pub(crate) not_holding: IntGauge,
}

impl PeerMetrics {
    /// Registers the metrics. All series exist from the start.
    ///
    /// # Errors
    /// A name is already registered.
    pub(crate) fn register(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        let exchanges = metrics.counters(
            "gateway_peer_exchanges_total",
            "Exchanges of settings that this gateway began with another, by result.",
            &["result"],
        )?;
        let peers = metrics.gauges(
            "gateway_peers",
            "Other gateways by whether the settings of this one hold there; false for one that does not answer.",
            &["holds"],
        )?;
        Ok(Self {
            answered: exchanges.get_metric_with_label_values(&["answered"])?,
            failed: exchanges.get_metric_with_label_values(&["failed"])?,
            holding: peers.get_metric_with_label_values(&["true"])?,
            not_holding: peers.get_metric_with_label_values(&["false"])?,
        })
    }
}
