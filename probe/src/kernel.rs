//! Talks to the kernel: object, programs, maps, privileges.

pub mod attach;
pub(crate) mod batch;
mod bpf;
pub mod cgroup;
pub mod endpoints;
pub mod error;
pub(crate) mod log;
pub mod namespace;
pub mod object;
pub mod per_shard;
pub mod pin;
pub mod ports;
pub mod preflight;
pub(crate) mod privileges;
pub mod protocol;
pub(crate) mod release;
pub(crate) mod slots;
pub mod statistics;
