//! The kernel's side: the object, its programs and maps, and the privileges that they take.

pub mod attach;
pub(crate) mod batch;
pub mod endpoints;
pub mod error;
pub mod log;
pub mod object;
pub mod per_shard;
pub mod pin;
pub mod ports;
pub mod preflight;
pub mod privileges;
pub mod release;
pub mod statistics;
