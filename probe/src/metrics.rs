//! Registers and updates the probe's metrics: name, help, labels.

use std::collections::{BTreeMap, BTreeSet};

use hotspot::export::hot_partition::HotPartition;
use parking_lot::Mutex;
use probe_common::latency::Latency;
use prometheus::{GaugeVec, IntCounterVec, IntGauge, IntGaugeVec};
use protocol::probe_api::{Comparison, Feature, Verdicts};
use service::metrics::Metrics;

use crate::signal::connections::{ConnectionMetrics, ConnectionReading};
use crate::signal::key_metrics::KeyMetrics;
use crate::signal::latency::DurationMetric;
use crate::signal::requests::RequestMetrics;
use crate::signal::self_metrics::SelfMetrics;
use crate::signal::series::set;
#[cfg(feature = "stores")]
use crate::signal::store_metrics::StoreMetrics;
use crate::signal::traffic::TrafficMetrics;
use crate::source::Counters;

/// Ways in which the probe can lose a sample.
#[derive(Clone, Copy, Debug)]
pub enum Lost {
    /// The kernel's maps could not be read.
    CountersUnreadable,
    /// A shard's `/stats` could not be read.
    ShardUnreadable,
    /// The kernel rejected the shards' addresses.
    WatchFailed,
    /// There was no room for one of a shard's addresses.
    AddressOverLimit,
    /// The statistics of the programs' runs could not be read.
    RunsUnreadable,
}

impl Lost {
    /// All variants.
    pub const ALL: [Self; 5] = [
        Self::CountersUnreadable,
        Self::ShardUnreadable,
        Self::WatchFailed,
        Self::AddressOverLimit,
        Self::RunsUnreadable,
    ];

    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CountersUnreadable => "counters_unreadable",
            Self::ShardUnreadable => "shard_unreadable",
            Self::WatchFailed => "watch_failed",
            Self::AddressOverLimit => "address_over_limit",
            Self::RunsUnreadable => "runs_unreadable",
        }
    }
}

/// The probe's metrics.
pub struct ProbeMetrics {
    /// Request counters.
    pub(crate) requests: RequestMetrics,
    /// Byte and packet counters.
    pub(crate) traffic: TrafficMetrics,
    /// Request durations.
    pub(crate) latency: DurationMetric,
    /// Connection counters.
    pub(crate) connections: ConnectionMetrics,
    difference: IntGaugeVec,
    bound: IntGaugeVec,
    agrees: IntGaugeVec,
    bypassed: IntGaugeVec,
    overlap: GaugeVec,
    hot_partition: HotPartition,
    gateways_hot_partition: HotPartition,
    verdicts_agree: IntGaugeVec,
    page_listeners: IntGauge,
    blind: IntGaugeVec,
    feature_enabled: GaugeVec,
    /// The features that `feature_enabled` shows.
    features: Mutex<Vec<Feature>>,
    events_lost: IntCounterVec,
    /// The shards whose counts have series.
    exported: Mutex<BTreeSet<u32>>,
    /// Cost of the kernel programs and fill of the maps.
    pub(crate) self_metrics: SelfMetrics,
    /// Reads by key.
    pub(crate) keys: KeyMetrics,
    /// The comparison with a store.
    #[cfg(feature = "stores")]
    pub(crate) store: StoreMetrics,
}

impl ProbeMetrics {
    /// Registers all metrics for `shards` shards.
    ///
    /// # Errors
    /// When a name is already registered.
    pub fn register(metrics: &Metrics, shards: u32) -> Result<Self, prometheus::Error> {
        let shard: &[&str] = &["shard_id"];
        let registered = Self {
            requests: RequestMetrics::register(metrics)?,
            traffic: TrafficMetrics::register(metrics)?,
            latency: DurationMetric::of_requests(metrics)?,
            connections: ConnectionMetrics::register(metrics)?,
            difference: metrics.gauges(
                "reconciliation_requests_difference",
                "Data requests counted by the kernel minus those counted by the shard, since the baseline.",
                shard,
            )?,
            bound: metrics.gauges(
                "reconciliation_requests_bound",
                "Largest difference that requests in flight can explain.",
                shard,
            )?,
            agrees: metrics.gauges(
                "reconciliation_agrees",
                "1 if kernel and shard agree, 0 if not, absent without a verdict.",
                shard,
            )?,
            bypassed: metrics.gauges(
                "reconciliation_bypassed_requests",
                "Lower bound of data requests that reached the shard without the gateway; absent without a gateway.",
                shard,
            )?,
            overlap: metrics.fractions(
                "reconciliation_hot_keys_overlap_ratio",
                "Overlap of the counts of kernel and shard for keys that either considers hot; absent without hot keys.",
                shard,
            )?,
            hot_partition: HotPartition::register("kernel_", shards, |family| metrics.collector(family))?,
            gateways_hot_partition: HotPartition::register("gateways_", shards, |family| metrics.collector(family))?,
            verdicts_agree: metrics.gauges(
                "reconciliation_verdicts_agree",
                "1 if the verdict from kernel counts equals the gateway's, 0 if not, absent if unknown.",
                &[],
            )?,
            page_listeners: metrics
                .gauge("probe_page_listeners", "Live pages that receive the probe's events.")?,
            blind: metrics.gauges(
                "probe_blind",
                "1 if a shard answers and the probe does not see its packets, else 0; absent if it does not answer.",
                shard,
            )?,
            features: Mutex::default(),
            exported: Mutex::default(),
            feature_enabled: metrics.fractions(
                "probe_feature_enabled",
                "1 if a feature of the probe works, else 0 with the reason.",
                &["feature", "reason"],
            )?,
            events_lost: metrics.counters(
                "probe_events_lost_total",
                "Samples that the probe could not take, by reason.",
                &["reason"],
            )?,
            self_metrics: SelfMetrics::register(metrics)?,
            keys: KeyMetrics::register(metrics)?,
            #[cfg(feature = "stores")]
            store: StoreMetrics::register(metrics)?,
        };
        registered.gateways_hot_partition.withdraw();
        for lost in Lost::ALL {
            registered.events_lost.with_label_values(&[lost.name()]).reset();
        }
        Ok(registered)
    }

    /// Updates the comparison of each shard. Without a verdict the series is removed.
    pub(crate) fn compared(&self, shards: &[Comparison]) {
        for (shard, comparison) in shards.iter().enumerate() {
            let id = shard.to_string();
            let bound = comparison.bound.map(|bound| i64::try_from(bound).unwrap_or(i64::MAX));
            set(&self.difference, &id, comparison.difference);
            set(&self.bound, &id, bound);
            set(&self.agrees, &id, comparison.agrees.map(i64::from));
            set(
                &self.bypassed,
                &id,
                comparison.bypassed.map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
            );
        }
    }

    /// Removes the series of a shard that the probe does not watch.
    pub(crate) fn forget(&self, shard: u32) {
        if !self.exported.lock().remove(&shard) {
            return;
        }
        let id = shard.to_string();
        self.requests.forget(&id);
        self.traffic.forget(&id);
        self.latency.forget(&id);
        self.connections.forget(&id);
        self.keys.interrupted(shard);
    }

    /// Updates the series of a shard's counts.
    pub(crate) fn read(
        &self,
        shard: u32,
        counters: &Counters,
        latency: Latency,
        connections: Option<&ConnectionReading>,
    ) {
        self.exported.lock().insert(shard);
        if let Some(connections) = connections {
            self.connections.read(shard, connections);
        }
        self.requests.read(shard, &counters.requests);
        self.traffic.read(shard, &counters.traffic);
        self.latency.timed(vec![shard.to_string()], latency);
    }

    /// Updates the hot-key overlap of a shard.
    pub(crate) fn overlapped(&self, shard: u32, ratio: Option<f64>) {
        let id = shard.to_string();
        match ratio {
            Some(ratio) => self.overlap.with_label_values(&[&id]).set(ratio),
            // Removing fails when there was no series, which is fine.
            None => drop(self.overlap.remove_label_values(&[&id])),
        }
    }

    /// Updates the verdicts.
    pub(crate) fn judged(&self, verdicts: &Verdicts) {
        match &verdicts.kernel {
            Some(verdict) => self.hot_partition.show(verdict),
            None => self.hot_partition.show_nothing(),
        }
        match &verdicts.gateway {
            Some(verdict) => self.gateways_hot_partition.show(verdict),
            None => self.gateways_hot_partition.withdraw(),
        }
        match verdicts.agree {
            Some(agree) => self.verdicts_agree.with_label_values::<&str>(&[]).set(i64::from(agree)),
            None => self.verdicts_agree.reset(),
        }
    }

    /// Updates the number of live pages that listen.
    pub(crate) fn listened(&self, listeners: usize) {
        self.page_listeners.set(i64::try_from(listeners).unwrap_or(i64::MAX));
    }

    /// Updates whether the probe is blind for a shard. `None` if it is not known.
    pub(crate) fn blind(&self, shard: u32, is_blind: Option<bool>) {
        set(&self.blind, &shard.to_string(), is_blind.map(i64::from));
    }

    /// Updates whether each feature works, with a short reason if not ("ok" if it does).
    pub(crate) fn features(&self, features: Vec<Feature>) {
        let mut shown = self.features.lock();
        if *shown == features {
            return;
        }
        // Remove the series of former reasons.
        self.feature_enabled.reset();
        for Feature { feature, enabled, reason, .. } in &features {
            self.feature_enabled
                .with_label_values(&[&**feature, &**reason])
                .set(f64::from(u8::from(*enabled)));
        }
        *shown = features;
    }

    /// Counts a lost sample.
    pub(crate) fn lost(&self, reason: Lost) {
        self.events_lost.with_label_values(&[reason.name()]).inc();
    }

    /// Samples lost so far, by reason.
    #[must_use]
    pub fn events_lost(&self) -> BTreeMap<&'static str, u64> {
        let count = |lost: Lost| (lost.name(), self.events_lost.with_label_values(&[lost.name()]).get());
        Lost::ALL.map(count).into_iter().collect()
    }
}
