//! The signals, each a typed reader of its map and its metrics.

pub mod connections;
pub mod key_metrics;
pub mod key_table;
pub mod key_window;
pub mod keys;
pub mod latency;
pub mod requests;
pub mod self_metrics;
pub(crate) mod series;
pub mod traffic;
