//! Starts the real lab for a test: four shard processes, a gateway and a probe on free ports, stopped with the test.
//!
//! [`lab::Lab`] is one running lab; [`process::Process`] one of its processes; [`kernel::available`] decides whether a test that
//! needs eBPF runs, is named as skipped, or (with `CI=true`) fails. [`collector`] receives spans. [`catalogue`] lists every
//! metric, for a program of its own.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot start its lab ends there")]

pub mod build;
pub mod catalogue;
pub mod collector;
pub mod dashboards;
pub mod k6;
pub mod kernel;
pub mod lab;
pub mod nft;
pub mod page;
pub mod poll;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod skip;
