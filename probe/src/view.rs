//! Shows a probe in the terminal, over its HTTP interface.

pub mod args;
mod client;
mod origin;
pub mod reconcile;
mod table;
#[cfg(feature = "top")]
pub mod top;
