//! Hot-shard mathematics: bounded key counting, windows, skew, verdicts, predictions.
//!
//! An access is added to a [`counter::KeyCounter`] (totals since a reset) and to a [`window::Window`] (the last 10
//! s).
//!
//! - [`promotion::Promotion`] selects the keys that get a metric series of their own.
//! - [`hot_keys`] finds the hot keys of one shard, [`hot_set`] those of all shards.
//! - [`detector::Detector`] judges the windows of all shards once a second and returns a [`verdict::Verdict`].
//!   [`skew`] computes the figures, [`judge`] the state and the reason.
//! - [`predict`] computes the load that a key stream and a placement produce.
//! - [`spread`] predicts the shards' load when keys are copied, forwarded or moved.
//! - [`what_if`] ranks the mitigations for the current load.
//! - [`merge`] merges the key counts of several gateways into one list.
//!
//! Nothing here reads a clock: time is an argument. Nothing here does I/O.

pub mod batched;
pub mod counter;
pub mod detector;
pub mod export;
pub mod hash;
pub mod hot_keys;
pub mod hot_set;
pub mod judge;
pub mod merge;
pub mod predict;
pub mod promotion;
mod sentence;
pub mod skew;
mod special;
pub mod spread;
pub mod what_if;
pub mod window;

pub use protocol::verdict;
