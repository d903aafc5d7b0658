//! Programs that measure the lab.
//!
//! - [`accuracy`]: compares the probe's counts with independent counts
//! - [`churn`]: a million connections under one probe
//! - [`cost`]: the probe's cost
//! - [`experiment`]: theory, application and kernel side by side
//! - [`gateway_cost`]: the cost of tracing and of the detector

#![expect(clippy::expect_used, reason = "a measurement that cannot start its lab ends there")]

pub mod accuracy;
pub mod churn;
pub mod cost;
pub mod experiment;
pub mod gateway_cost;
mod machine;
mod pair;
mod statistics;
mod table;
mod testbed;
