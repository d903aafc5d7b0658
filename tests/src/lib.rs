//! Starts the real lab for a test.
//!
//! It has four shards, a gateway and a probe.
//!
//! All parts listen on free ports and stop with the test.
//!
//! - [`lab::Lab`]: one running lab
//! - [`store_lab::StoreLab`]: a Redis Cluster in place of the shards
//! - [`process::Process`]: one of its processes
//! - [`balancer::Balancer`]: spreads connections over several gateways
//! - [`kernel::available`]: decides whether a test that needs eBPF runs, is reported as skipped, or (with `CI=true`)
//!   fails
//! - [`attack`]: clients that hold connections
//! - [`collector`]: receives spans
//! - [`catalogue`]: lists every metric, for the `metrics` program

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot start its lab ends there")]

pub mod attack;
pub mod balancer;
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
pub mod store_lab;
