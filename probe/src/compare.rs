//! The kernel's counts against those of shards and gateways: counts, hot keys, verdicts.

pub mod app_metrics;
pub mod feed;
pub mod gateway;
pub mod hot_keys;
pub mod reconcile;
pub mod snapshot;
pub mod stats_client;
pub mod verdict;
pub mod watch;
