//! What the probe serves over HTTP: a file of handlers for each resource, and the live page.

pub mod compare;
pub mod events;
pub mod features;
pub mod gateways;
pub mod keys;
pub mod latency;
pub mod page;
pub mod shards;
pub mod state;
pub mod status;
pub mod verdict;
