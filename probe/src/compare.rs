//! Compares the kernel's counts with those of shards and gateways.

pub(crate) mod app_metrics;
pub(crate) mod feed;
pub mod gateway;
pub(crate) mod hot_keys;
pub(crate) mod reconcile;
pub(crate) mod snapshot;
pub mod stats_client;
pub(crate) mod verdict;
pub mod watch;
