//! The signals, each a typed reader of its map and its metrics.

pub mod connections;
pub mod itself;
pub mod key_metrics;
pub mod keys;
pub mod latency;
pub mod per_shard;
pub mod requests;
pub mod traffic;
