//! Counts requests in the kernel; compares them with the shards' counts.
//!
//! A request takes this path:
//!
//! - The kernel programs (`probe-ebpf`, loaded and attached by [`kernel`]) count it in per-CPU maps.
//! - A [`source`] reads the maps, with one [`signal`] each.
//! - [`compare`] brackets the counts with the shards' own `/stats`. It decides whether the two agree and whether a
//!   shard is hot.
//! - `node` reports them to an aggregator. [`aggregate`] is one: its source is other probes.
//! - [`serve`] and [`metrics`] show the results over HTTP, [`view`] in a terminal.

pub mod aggregate;
pub mod app;
pub(crate) mod attach;
pub(crate) mod blindness;
pub mod compare;
pub mod config;
pub(crate) mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod kernel;
pub(crate) mod links;
pub mod metrics;
pub(crate) mod node;
pub mod pods;
pub mod probe;
pub mod routes;
pub mod serve;
pub(crate) mod serving;
pub mod shards;
pub mod signal;
pub mod source;
#[cfg(feature = "stores")]
pub mod store;
pub mod switch;
pub(crate) mod targets;
pub mod view;
