//! Compares the kernel's counts with those of shards and gateways.
//!
//! - [`rounds`] drives the loop, and [`watch`] reads the lab's shards in it.
//! - [`reconcile`] compares request counts.
//! - [`verdict`] judges by kernel counts whether a shard is hot. Its `agreement` compares that with the gateway's
//!   verdict. [`judge`] publishes both.
//! - [`health`] decides whether shards answer.
//! - [`stats_client`] and [`gateway`] read the application's counts. [`hot_keys`] compares its hot keys with the
//!   kernel's.
//! - [`snapshot`] and [`feed`] hold the results for `serve`.

pub(crate) mod app_metrics;
pub(crate) mod blind;
pub(crate) mod feed;
pub mod gateway;
pub(crate) mod health;
pub(crate) mod hot_keys;
pub(crate) mod judge;
pub(crate) mod reconcile;
pub mod rounds;
pub(crate) mod snapshot;
pub mod stats_client;
pub(crate) mod verdict;
pub mod watch;
