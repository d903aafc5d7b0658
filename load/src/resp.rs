//! Sends the load to a Redis or Valkey store in place of the gateway.
//!
//! - [`Cluster`] holds the owner of each slot.
//! - [`connections`] sends a command to the slot's owner and follows redirections.
//! - [`StoreRequests`] sends a stream's commands: `GET`, or `SET` for a stream of writes.
//! - [`seed`] writes the keys before the load.

mod cluster;
mod connections;
mod requests;
pub mod seed;

pub use cluster::Cluster;
pub use requests::StoreRequests;

#[cfg(fuzzing)]
pub(crate) use connections::Redirection;
