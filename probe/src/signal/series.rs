//! Updates counters and gauges from absolute values.

use prometheus::{IntCounterVec, IntGaugeVec};

/// Raises a counter to the kernel's value, which only grows.
pub(crate) fn raise(counter: &IntCounterVec, labels: &[&str], value: u64) {
    let counter = counter.with_label_values(labels);
    counter.inc_by(value.saturating_sub(counter.get()));
}

/// Removes a counter's series, if there is one.
pub(crate) fn remove(counter: &IntCounterVec, labels: &[&str]) {
    // Removing fails when there was no series, which is fine.
    drop(counter.remove_label_values(labels));
}

/// Sets a gauge of one shard. Without a value the series is removed.
pub(crate) fn set(gauge: &IntGaugeVec, shard: &str, value: Option<i64>) {
    match value {
        Some(value) => gauge.with_label_values(&[shard]).set(value),
        // Removing fails when there was no series, which is fine.
        None => drop(gauge.remove_label_values(&[shard])),
    }
}
