//! Starts the real lab for a test: four shard processes, a gateway and a probe on free ports, stopped with the test.
//!
//! [`lab::Lab`] is one running lab; [`process::Process`] one of its processes; [`kernel::available`] decides whether a test that
//! needs eBPF runs, is named as skipped, or (with `CI=true`) fails. [`accuracy`] is the accuracy suite, [`churn`] the run of
//! a million connections, [`collector`] receives spans, [`cost`] what
//! the probe costs, [`gateway_cost`] what tracing and counting keys cost, [`experiment`] the experiments, [`catalogue`] every metric
//! there is: programs of their own.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot start its lab ends there")]

pub mod accuracy;
pub mod build;
pub mod catalogue;
pub mod cgroup;
pub mod churn;
pub mod collector;
pub mod cost;
pub mod dashboards;
pub mod experiment;
pub mod gateway_cost;
pub mod k6;
pub mod kernel;
pub mod lab;
pub mod nft;
pub mod page;
pub mod poll;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod repository;
