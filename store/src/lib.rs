//! Reads a Redis or Valkey store with a few read-only requests.
//!
//! A [`client::Client`] connects to one node and sends a [`request::Request`]. Only the requests of that type exist, so
//! nothing else reaches the store. The [`reply::Decoder`] decodes the answer within fixed limits.
//!
//! - [`urls`] parses the addresses, [`credentials`] holds user and password.
//! - [`commands`] reads which arguments of a command are keys.
//! - [`info`] reads the store's own counts.
//! - [`topology`] reads the shards of a cluster, [`slot`] computes the slot of a key.

pub mod client;
pub mod commands;
pub mod credentials;
pub mod error;
pub mod info;
pub mod reply;
pub mod request;
pub mod slot;
pub mod topology;
pub mod urls;
