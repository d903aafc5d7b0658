//! A shard over real sockets.
//!
//! - [`contract`]: every row of the shard's calls, and behaviour at the limits
//! - [`bad_input`]: every kind of bad request: status, body, and the counts afterwards
//! - [`request_counts`]: received = served + rejected + shed + in flight, with abandoned requests and resets
//! - [`keys`]: hot keys and the metrics with a `key` label
//! - [`service_model`]: latencies of the lab profile, simulated with the capacity
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
