//! Tests the generator's binary against a stub gateway.
//!
//! The stub counts the requests that it receives.
//!
//! - [`runs`]: scenarios and saturation; every report must equal the stub's counts exactly
//! - [`refusals`]: runs without a report: exit code, reason and sentence
//! - [`serving`]: scenarios started over HTTP
//! - [`store`]: scenarios on a real Redis Cluster; every report must equal the nodes' counts exactly
//! - [`stub`]: the stub gateway
//! - [`redis`]: a `redis-server` for one test, shared with the crate `store`

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions, where clippy.toml does not reach"
)]

#[cfg(feature = "stores")]
#[path = "../../../store/tests/it/server.rs"]
mod redis;
mod refusals;
mod runs;
mod serving;
#[cfg(feature = "stores")]
mod store;
mod stub;
