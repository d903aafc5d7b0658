//! Starts, watches and stops the lab's processes.
//!
//! - [`Lab`]: shards, gateway, probe and scenario starter, started together and stopped in order
//! - [`process`]: one long-lived process with its log; [`guard`] for one with other rights; [`cgroup`] for its sockets
//! - [`command`]: programs that run to their end; [`programs`] finds them
//! - [`generator`]: one run of the load generator
//! - [`k6`], [`playwright`], [`prometheus`]: programs of others, and how the lab uses them
//!
//! Everything is synchronous, and no crate of the services is needed: `cargo xtask` compiles in seconds.

pub mod cgroup;
pub mod command;
pub mod generator;
pub mod guard;
pub mod http;
pub mod k6;
mod lab;
pub mod playwright;
pub mod ports;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod signals;
pub mod tree;

pub use lab::{Lab, Options, Probe, Setting};
