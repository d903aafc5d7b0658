//! Defines the signal `latency` and round-trip times: buckets, quantiles, histograms.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use probe_common::latency::{self, BUCKETS, Latency};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use protocol::probe_api::{Bucket, Quantiles};
use service::metrics::Metrics;

use crate::kernel::per_shard::PerShard;

/// A map of buckets.
pub(crate) type LatencyMap = PerShard<Latency>;

impl LatencyMap {
    /// The name of the map of request durations.
    pub(crate) const NAME: &str = "LATENCY";

    /// The name of the map of round-trip times.
    pub(crate) const RTT: &str = "RTT";
}

/// The buckets that are not empty.
pub(crate) fn buckets(latency: &Latency) -> Vec<Bucket> {
    let counts = latency.buckets.iter().take(BUCKETS).enumerate().filter(|(_, count)| **count > 0);
    counts.map(|(bucket, count)| (latency::upper_bound(bucket).map(milliseconds), *count)).collect()
}

/// The upper bound in milliseconds of the bucket with this percentile. `None` without requests, or above all bounds.
pub(crate) fn quantile(buckets: &[Bucket], percent: u64) -> Option<f64> {
    // Another process may have reported the counts.
    let all = buckets.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
    let place = u64::try_from((u128::from(all) * u128::from(percent)).div_ceil(100)).ok()?.max(1);
    let mut below = 0_u64;
    let reached = buckets.iter().find(|(_, count)| {
        below = below.saturating_add(*count);
        below >= place
    });
    reached.and_then(|(bound, _)| *bound)
}

/// The sum of several.
pub(crate) fn sum(latencies: &[Latency]) -> Latency {
    let mut sum = Latency::default();
    latencies.iter().for_each(|one| sum += one);
    sum
}

/// The quantiles of these buckets.
pub(crate) fn quantiles(latency: &Latency) -> Quantiles {
    let buckets = buckets(latency);
    let [p50, p95, p99] = [50, 95, 99].map(|percent| quantile(&buckets, percent));
    Quantiles { p50, p95, p99, count: latency.count() }
}

/// The indexes of the kernel buckets that end a bucket of the histogram. There are two per octave from 64 µs to 66 ms,
/// and fewer outside: 29 in all, and one for the rest.
fn closing_buckets() -> impl Iterator<Item = usize> {
    /// The number of kernel buckets before the octave that begins at 2^n µs.
    const fn before(octave: usize) -> usize {
        octave * 8
    }
    let fine = (6..16).flat_map(|octave| [before(octave), before(octave) + 4]);
    [4, 5].map(before).into_iter().chain(fine).chain([16, 17, 18, 19, 20, 22, 26].map(before))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn histogram(latency: &Latency) -> Histogram {
    let mut buckets = Vec::new();
    for last in closing_buckets() {
        let Some(bound) = latency::upper_bound(last) else { continue };
        let mut bucket = proto::Bucket::default();
        bucket.set_cumulative_count(latency.buckets.iter().take(last + 1).sum());
        bucket.set_upper_bound(seconds(bound));
        buckets.push(bucket);
    }
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(latency.buckets.iter().take(BUCKETS).sum());
    histogram.set_sample_sum(seconds(latency.sum));
    histogram
}

/// A histogram per shard, or per shard and family of commands. Each bucket is a union of kernel buckets, so its count is exact. Cheap to clone.
#[derive(Clone)]
pub(crate) struct DurationMetric {
    description: Desc,
    labels: &'static [&'static str],
    /// The latest buckets, by the labels' values.
    series: Arc<Mutex<BTreeMap<Vec<String>, Latency>>>,
}

impl DurationMetric {
    /// Registers `kernel_shard_request_duration_seconds`, without series.
    pub(crate) fn of_requests(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Self::register(
            metrics,
            "kernel_shard_request_duration_seconds",
            "Time from a data request's head to the first byte of its answer, at the shard's socket.",
            &["shard_id"],
        )
    }

    /// Registers `kernel_shard_rtt_seconds`, without series.
    pub(crate) fn of_round_trips(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Self::register(
            metrics,
            "kernel_shard_rtt_seconds",
            "Round-trip time that TCP measures at the shard's socket, one sample per round trip.",
            &["shard_id"],
        )
    }

    /// Registers `kernel_store_command_duration_seconds`, without series.
    #[cfg(feature = "stores")]
    pub(crate) fn of_families(metrics: &Metrics) -> Result<Self, prometheus::Error> {
        Self::register(
            metrics,
            "kernel_store_command_duration_seconds",
            "Time from a command with keys to the first byte of its reply, at the node's socket, by family.",
            &["shard_id", "family"],
        )
    }

    fn register(
        metrics: &Metrics,
        name: &str,
        help: &str,
        labels: &'static [&'static str],
    ) -> Result<Self, prometheus::Error> {
        let names = labels.iter().map(|name| (*name).to_owned()).collect();
        let description = Desc::new(name.into(), help.into(), names, HashMap::new())?;
        let metric = Self { description, labels, series: Arc::default() };
        metrics.collector(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// Sets the buckets of the series with these values of the labels.
    pub(crate) fn timed(&self, values: Vec<String>, latency: Latency) {
        self.series.lock().insert(values, latency);
    }

    /// Removes the series of a shard.
    pub(crate) fn forget(&self, shard: &str) {
        self.series.lock().retain(|values, _| values.first().is_none_or(|id| id != shard));
    }

    fn family(&self) -> MetricFamily {
        let series = self.series.lock();
        let metrics = series.iter().map(|(values, latency)| {
            let labels = self.labels.iter().zip(values).map(|(name, value)| {
                let mut label = LabelPair::default();
                label.set_name((*name).into());
                label.set_value(value.clone());
                label
            });
            let mut metric = Metric::from_label(labels.collect());
            metric.set_histogram(histogram(latency));
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(self.description.fq_name.clone());
        family.set_help(self.description.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(metrics.collect());
        family
    }
}

impl Collector for DurationMetric {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        vec![self.family()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histogram_has_at_most_thirty_buckets_and_loses_nothing() {
        let mut latency = Latency { sum: 2_000_000_000, ..Latency::default() };
        latency.buckets[..BUCKETS].fill(1);
        let histogram = histogram(&latency);
        let bounds: Vec<f64> = histogram.get_bucket().iter().map(proto::Bucket::upper_bound).collect();
        assert!(bounds.len() < 30 && bounds.is_sorted(), "{bounds:?}");
        assert_eq!((bounds[0], bounds[2], bounds[3]), (16e-6, 64e-6, 96e-6));
        for bucket in histogram.get_bucket() {
            let below = (0..BUCKETS)
                .filter_map(latency::upper_bound)
                .filter(|bound| seconds(*bound) <= bucket.upper_bound());
            assert_eq!(bucket.cumulative_count(), below.count() as u64, "{}", bucket.upper_bound());
        }
        assert_eq!(histogram.get_sample_count(), BUCKETS as u64);
        assert_eq!(histogram.get_sample_sum().to_bits(), 2.0_f64.to_bits());
    }

    #[test]
    fn quantiles_are_upper_bounds() {
        assert_eq!(quantiles(&Latency::default()), Quantiles { p50: None, p95: None, p99: None, count: 0 });
        let mut latency = Latency::default();
        latency.buckets[latency::bucket(5_000_000) as usize] = 98;
        latency.buckets[BUCKETS - 1] = 2;
        let quantiles = quantiles(&latency);
        assert_eq!((quantiles.p99, quantiles.count), (None, 100));
        let p50 = quantiles.p50.expect("there is one");
        assert!(p50 > 5.0 && p50 < 5.0 * 1.125, "{p50}");
    }

    #[test]
    fn a_quantile_is_the_upper_bound_of_its_bucket() {
        let buckets = [(Some(0.5), 50), (Some(1.0), 48), (Some(2.0), 1), (None, 1)];
        assert_eq!(quantile(&buckets, 50), Some(0.5));
        assert_eq!(quantile(&buckets, 51), Some(1.0));
        assert_eq!(quantile(&buckets, 99), Some(2.0));
        assert_eq!(quantile(&buckets, 100), None);
        assert_eq!(quantile(&[(Some(0.5), 0)], 50), None);
        assert_eq!(quantile(&[], 50), None);
    }
}
