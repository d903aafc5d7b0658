//! The kernel's witness: counts what reaches the shards' sockets and compares it with what the shards say.
//!
//! A request's way through here: the kernel programs (`probe-ebpf`, loaded and attached by [`kernel`]) count it in
//! per-CPU maps; a [`source`] reads them, one [`signal`] each; [`compare`] brackets them with the shards' own `/stats`,
//! and says whether the two agree and whether a shard is hot; [`serve`] and [`metrics`] show it over HTTP, [`view`] in a
//! terminal.

pub mod app;
pub mod compare;
pub mod config;
pub(crate) mod error;
pub mod kernel;
pub mod metrics;
pub mod pods;
pub mod probe;
pub mod routes;
pub mod serve;
pub mod signal;
pub mod source;
pub(crate) mod targets;
pub mod view;
