//! The mathematics of a hot shard: counting keys in bounded memory, windows, skew, verdict, prediction.
//!
//! An access enters a [`counter::KeyCounter`] (totals since a reset) and a [`window::Window`] (the last 10 s).
//! [`promotion::Promotion`] decides which keys deserve a metric of their own,
//! [`hot_keys`] which of them are hot on one shard, [`hot_set`] which of all. Once a second a [`detector::Detector`] looks
//! at the windows of all shards: [`skew`] gives the figures, [`judge`] state and reason, and out comes a
//! [`verdict::Verdict`]. [`predict`] says what a key stream and a placement must produce, [`zipf_fit`] what stream it was,
//! [`spread`] where load goes when keys are copied, forwarded or moved, and [`what_if`] ranks the mitigations for the load
//! there is. [`merge`] makes one list of what several gateways counted.
//!
//! Nothing here reads a clock: time is an argument. Nothing here does I/O.

pub mod batched;
pub mod counter;
pub mod detector;
pub mod export;
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
pub mod zipf_fit;

pub use protocol::verdict;
