//! A shard over real sockets. Contents:
//!
//! - [`contract`]: every row of the shard's calls, and what a shard does with its limits
//! - [`bad_input`]: every kind of bad request: its status, its body, and the books afterwards
//! - [`request_counts`]: received = served + rejected + shed + in flight, abandoned requests and resets included
//! - [`keys`]: hot keys and the metrics with a `key` label
//! - [`service_model`]: the lab profile's latencies, simulated on the capacity itself
//! - [`process`]: the binary: settings, drain, memory

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stand outside of test functions, where clippy.toml does not reach"
)]

mod bad_input;
mod contract;
mod keys;
mod lab;
mod process;
mod request_counts;
mod service_model;
