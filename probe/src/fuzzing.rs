//! Entry points of the fuzz targets.

use std::time::Duration;

use hotspot::detector::Detector;
use hotspot::judge::Observation;
use hotspot::merge::Summary;
use probe_common::keys::KeySet;
use probe_common::latency::Latency;
use protocol::Key;
use protocol::body::HotKeys;
use protocol::probe_api::{AppLatency, Bucket, Gateways, NodeReport, Quantiles};
use protocol::shard_urls::ShardUrl;
use protocol::verdict::Verdict;

use crate::aggregate::Merged;
use crate::kernel::protocol::Protocol;
use crate::signal::key_table::KeyTable;
use crate::signal::{keys, latency, raw_key};

/// The answer of `/admin/hot-keys`.
pub type GatewayKeys = HotKeys<Summary<Key>, Observation<String>>;

/// The latencies in a shard's `/metrics`.
#[must_use]
pub fn app_latency(text: &str) -> Option<AppLatency> {
    crate::compare::app_metrics::parse(0.0, text)
}

/// One shard's keys from the sets of the map `KEYS`.
#[must_use]
pub fn key_table(sets: &[KeySet], protocol: Protocol) -> KeyTable {
    keys::table(sets, protocol, 0)
}

/// The name of a key that is any bytes.
#[must_use]
pub fn name_of_bytes(bytes: &[u8]) -> String {
    raw_key::name_of_bytes(bytes).into()
}

/// The bytes of a key with this name.
#[must_use]
pub fn bytes_of(name: &str) -> Option<Vec<u8>> {
    raw_key::bytes_of(name)
}

/// Buckets and quantiles of an entry of the map `LATENCY`.
#[must_use]
pub fn durations(latency: &Latency) -> (Vec<Bucket>, Quantiles) {
    (latency::buckets(latency), latency::quantiles(latency))
}

/// The quantile of the buckets in a probe's `/api/latency`.
#[must_use]
pub fn quantile(buckets: &[Bucket], percent: u64) -> Option<f64> {
    latency::quantile(buckets, percent)
}

/// The answer of `/api/gateways` when the gateways answered this.
#[must_use]
pub fn gateways<'a>(read: impl Iterator<Item = (&'a ShardUrl, GatewayKeys)>) -> Gateways {
    crate::serve::gateways::body(0.0, read.map(|(url, keys)| (url, Ok(keys))))
}

/// The verdict on the sum of several gateways.
///
/// # Errors
/// When one of them has another number of shards.
pub fn verdict(
    detector: &mut Detector<String>,
    shards: usize,
    read: &[GatewayKeys],
) -> Result<Verdict<String>, String> {
    crate::compare::gateway::verdict(detector, shards, read)
}

/// The sums of an aggregator.
#[derive(Debug)]
pub struct Sums {
    merged: Merged,
    shards: u32,
}

impl Sums {
    /// Sums of 0.
    #[must_use]
    pub fn new(shards: u32) -> Self {
        Self { merged: Merged::new(shards as usize), shards }
    }

    /// Adds the reports of one second.
    pub fn observe(&mut self, second: u64, reports: &[&NodeReport]) {
        self.merged.observe(Duration::from_secs(second), reports);
    }

    /// Reads and writes of each shard, and the reads of its listed keys.
    #[must_use]
    pub fn counts(&self) -> Vec<(u64, u64, u64)> {
        let shards = (0..self.shards).filter_map(|shard| self.merged.shard(shard));
        shards
            .map(|shard| {
                let (requests, table) = (shard.requests(), shard.keys.table());
                let keys = table.keys.values().fold(0_u64, |sum, reads| sum.saturating_add(reads.requests));
                (requests.get, requests.set, keys)
            })
            .collect()
    }
}
