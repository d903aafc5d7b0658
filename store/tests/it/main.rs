//! Tests the store's parsers against recorded replies, and the client against real servers.
//!
//! - `replies`: the decoder at every split, and its limits
//! - `recorded`: INFO, COMMAND and cluster replies as servers sent them
//! - `server`: a `redis-server` of the test
//! - `client`: requests, logins, denied and renamed commands
//! - `cluster`: the topology of a real cluster, through a failover
//! - `foreign`: ports that speak another protocol

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod client;
mod cluster;
mod foreign;
mod recorded;
mod replies;
mod server;
