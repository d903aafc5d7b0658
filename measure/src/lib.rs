//! Programs that measure the lab.
//!
//! - [`accuracy`]: compares the probe's counts with independent counts
//! - [`churn`]: a million connections under one probe
//! - [`cost`]: the probe's cost
//! - [`experiment`]: theory, application and kernel side by side
//! - [`faults`]: what faults do to the running lab
//! - [`gateway_bench`]: the gateway beside nginx, HAProxy and Varnish
//! - [`gateway_cost`]: the cost of tracing and of the detector
//! - [`nodes`]: an aggregator of many simulated probes
//! - [`obi`]: the probe beside OpenTelemetry's eBPF instrumentation
//! - [`objects`]: kernel objects beside each other
//! - [`soak`]: mixed load with random faults, and what grows under it
//! - [`stores`]: the probe's counts of a store that was not changed, against the store's own

#![expect(clippy::expect_used, reason = "a measurement that cannot start its lab ends there")]

pub mod accuracy;
pub mod churn;
pub mod cost;
pub mod experiment;
pub mod faults;
pub mod gateway_bench;
pub mod gateway_cost;
mod held;
mod lines;
mod machine;
pub mod nodes;
pub mod obi;
pub mod objects;
mod pair;
pub mod soak;
mod statistics;
pub mod stores;
mod table;
mod testbed;
