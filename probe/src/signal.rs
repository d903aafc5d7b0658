//! Defines the signals: each reads its map and owns its metrics.

pub mod commands;
pub(crate) mod connections;
pub(crate) mod key_metrics;
pub mod key_table;
pub(crate) mod key_window;
pub mod keys;
pub(crate) mod latency;
pub(crate) mod raw_key;
pub mod requests;
pub(crate) mod self_metrics;
pub(crate) mod series;
#[cfg(feature = "stores")]
pub(crate) mod store_metrics;
pub mod traffic;
