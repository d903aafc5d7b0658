//! The generator's binary against a stub gateway that keeps its own books. Contents:
//!
//! - [`runs`]: scenarios and saturation, their reports equal to the stub's books to the request
//! - [`refusals`]: when there is no report, and what is said instead
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
