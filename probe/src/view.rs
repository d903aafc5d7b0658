//! What people look at in a terminal: tables over a running probe's HTTP interface, or over one attached for the moment.

pub mod args;
pub mod client;
pub mod origin;
pub mod reconcile;
mod table;
#[cfg(feature = "top")]
pub mod top;
