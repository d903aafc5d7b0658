//! Serves the HTTP resources, one file each, and the live page.

pub(crate) mod compare;
pub(crate) mod events;
pub mod features;
pub(crate) mod gateways;
pub(crate) mod keys;
pub(crate) mod latency;
pub(crate) mod node;
pub(crate) mod page;
pub(crate) mod shards;
pub mod state;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod verdict;
