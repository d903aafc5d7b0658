//! Key statistics as Prometheus metrics.

pub mod hot_partition;
pub mod key_series;
