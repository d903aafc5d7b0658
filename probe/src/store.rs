//! Watches a Redis or Valkey store in place of the lab's shards.
//!
//! - [`settings`] has the options. [`discovery`] reads the store's nodes and commands.
//! - [`fleet`] gives each node a number for the kernel's maps, and follows failovers.
//! - [`link`] is the connection to a node, [`names`] the numbers of the commands.
//! - [`ledger`] compares kernel and store by command and in bytes.
//! - [`window`] keeps the counts that [`answer`] judges; [`mitigation`] predicts what would help.
//! - [`watch`] runs the loop. [`app`] starts it with the HTTP interface, [`once`] for one answer.

pub(crate) mod answer;
pub mod app;
pub(crate) mod discovery;
pub(crate) mod fleet;
pub(crate) mod ledger;
pub(crate) mod link;
pub(crate) mod mitigation;
pub(crate) mod names;
pub mod once;
pub mod settings;
pub(crate) mod watch;
pub(crate) mod window;
