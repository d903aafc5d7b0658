//! The wire contract of the lab: keys, placement, bodies, limits, errors.
//!
//! A request carries a [`Key`], and [`placement::modulo`] gives the [`ShardId`] that owns it. [`body`], [`verdict`] and
//! [`error`] declare what crosses the wire. This crate does no I/O, depends on no other crate of the workspace, and
//! compiles in seconds.

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
