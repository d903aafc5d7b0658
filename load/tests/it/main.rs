//! Tests the generator's binary against a stub gateway.
//!
//! The stub counts the requests that it receives.
//!
//! - [`runs`]: scenarios and saturation; every report must equal the stub's counts exactly
//! - [`refusals`]: runs without a report: exit code, reason and sentence
//! - [`serving`]: scenarios started over HTTP
//! - [`stub`]: the stub gateway

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions, where clippy.toml does not reach"
)]

mod refusals;
mod runs;
mod serving;
mod stub;
