//! Starts, watches and stops the lab's processes.
//!
//! - [`Lab`]: shards, gateway, probe and scenario starter
//! - [`StoreLab`]: a Redis Cluster in place of shards and gateway, and the probe
//! - [`Options`]: what both are started with
//! - [`process`]: one long-running process with its log
//! - [`guard`]: a process with other rights
//! - [`cgroup`]: the cgroup of the shards
//! - [`command`]: programs that run to completion
//! - [`programs`]: finds installed programs
//! - [`generator`]: one run of the load generator
//! - [`k6`], [`playwright`], [`prometheus`]: third-party programs that the lab uses
//!
//! Everything is synchronous, and no service crate is a dependency. So `cargo xtask` compiles in seconds.

pub mod cgroup;
pub mod command;
pub mod generator;
pub mod guard;
pub mod http;
pub mod k6;
mod lab;
mod options;
mod parts;
pub mod playwright;
pub mod ports;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod signals;
pub mod store_lab;
pub mod tree;

pub use lab::Lab;
pub use options::{Options, Probe, Setting};
pub use store_lab::StoreLab;
