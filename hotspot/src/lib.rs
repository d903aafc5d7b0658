//! The mathematics of a hot shard: counting keys in bounded memory, windows, promotion of keys to metrics, prediction.
//!
//! An access enters a [`counter::KeyCounter`] (totals since a reset) and a [`window::Window`] (the last 10 s);
//! [`promotion::Promotion`] decides which keys deserve a metric of their own; [`predict`] says what a key stream and a
//! placement must produce; [`striped`] holds counts apart for several cores. Nothing here reads a clock: time is an argument. Nothing here does I/O.

pub mod counter;
pub mod hot_keys;
pub mod predict;
pub mod promotion;
pub mod skew;
mod special;
pub mod striped;
pub mod window;
pub mod zipf_fit;
