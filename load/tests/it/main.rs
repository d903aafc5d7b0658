//! The generator's binary against a stub gateway that counts its requests. Contents:
//!
//! - [`runs`]: scenarios and saturation, their reports equal to the stub's counts to the request
//! - [`refusals`]: runs without a report: exit code, reason and sentence
//! - [`serving`]: scenarios started over HTTP
//! - [`stub`]: the gateway

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions, where clippy.toml does not reach"
)]

mod refusals;
mod runs;
mod serving;
mod stub;
