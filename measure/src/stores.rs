//! Compares the counts of `probe watch` with those of a real store.
//!
//! Each row starts servers ([`server`]), a probe, and clients. It reads kernel and store at rest ([`rest`]) and judges
//! them. [`connection`] is a client that sends bytes as given, [`mix`] a cluster client for all commands. [`rows`] has
//! the rows, [`suite`] the run, and [`report`] its presentation.

pub(crate) mod connection;
pub(crate) mod mix;
pub mod report;
pub(crate) mod rest;
pub(crate) mod rows;
#[path = "../../store/tests/it/server.rs"]
#[expect(clippy::unwrap_used, reason = "a measurement that cannot start its store ends there")]
pub(crate) mod server;
pub mod suite;
pub(crate) mod unit;
