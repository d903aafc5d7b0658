//! The wire contract of the lab: keys, placement, bodies, limits, errors.
//!
//! A request has a [`Key`]. [`placement::modulo`] returns the [`ShardId`] of the shard that owns it. [`body`],
//! [`verdict`] and [`error`] declare the JSON bodies. This crate does no I/O, depends on no other workspace crate,
//! and compiles in seconds.

pub mod body;
pub mod error;
pub mod escape;
pub mod json;
pub mod key;
pub mod limits;
pub mod placement;
pub mod probe_api;
pub mod shard_id;
pub mod shard_urls;
pub mod verdict;

pub use error::{ErrorBody, ErrorKind};
pub use key::{Key, KeyError};
pub use shard_id::ShardId;
