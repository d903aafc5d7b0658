//! Updates counters and gauges from absolute values.

use prometheus::{IntCounterVec, IntGaugeVec};

/// Brings a counter to the kernel's value, which only ever grows.
pub(crate) fn raise(counter: &IntCounterVec, labels: &[&str], value: u64) {
    let counter = counter.with_label_values(labels);
    counter.inc_by(value.saturating_sub(counter.get()));
}

/// Sets a gauge of one shard; without a value its series goes.
pub(crate) fn set(gauge: &IntGaugeVec, shard: &str, value: Option<i64>) {
    match value {
        Some(value) => gauge.with_label_values(&[shard]).set(value),
        // An error says the series was not there, which is as well.
        None => drop(gauge.remove_label_values(&[shard])),
    }
}
