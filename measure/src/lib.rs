//! Programs that measure the lab.
//!
//! - [`accuracy`]: the probe's counts against an independent truth
//! - [`churn`]: a million connections under one probe
//! - [`cost`]: what the probe costs
//! - [`experiment`]: theory, application and kernel side by side
//! - [`gateway_cost`]: what tracing and the detector cost

#![expect(clippy::expect_used, reason = "a measurement that cannot start its lab ends there")]

pub mod accuracy;
pub mod churn;
pub mod cost;
pub mod experiment;
pub mod gateway_cost;
mod machine;
mod statistics;
mod table;
