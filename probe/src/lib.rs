//! The kernel's witness: counts what reaches the shards' sockets and compares it with what the shards say.
//!
//! A request's way through here: the kernel programs (`probe-ebpf`, embedded by [`object`], attached by [`attach`])
//! count it in per-CPU maps; a [`source`] reads them, one [`signal`] each; [`watch`] brackets them with the shards' own
//! `/stats` ([`shard_stats`]), [`reconcile`] says whether the two agree, and [`verdict`] whether a shard is hot by the kernel's
//! counts alone; [`api`] and [`metrics`] show it.

pub mod api;
pub mod app;
pub mod app_metrics;
pub mod attach;
mod batch;
pub mod config;
pub mod endpoints;
pub mod error;
pub mod events_api;
pub mod feed;
pub mod gateway;
pub mod gateways_api;
pub mod hot_keys;
pub mod kernel_log;
pub mod keys_api;
pub mod latency_api;
pub mod metrics;
pub mod object;
pub mod page;
pub mod pin;
pub mod pods;
pub mod ports;
pub mod preflight;
pub mod privileges;
pub mod probe;
pub mod reconcile;
pub mod routes;
pub mod shard_stats;
pub mod signal;
pub mod source;
pub mod statistics;
pub mod targets;
pub mod verdict;
pub mod verdict_api;
pub mod view;
pub mod watch;
