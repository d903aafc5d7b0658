//! What gateway, shard, load generator and tests agree on: keys, placement, bodies, limits, errors.
//!
//! A request carries a [`Key`]; [`placement::modulo`] says which [`ShardId`] owns it; the bodies in [`body`] and the
//! error body in [`error`] are what crosses the wire. Nothing here does I/O, and nothing here depends on the rest of
//! the workspace.

pub mod body;
pub mod error;
pub mod json;
pub mod key;
pub mod limits;
pub mod placement;
pub mod shard_id;
pub mod shard_urls;

pub use error::{ErrorBody, ErrorKind};
pub use key::{Key, KeyError};
pub use shard_id::ShardId;
