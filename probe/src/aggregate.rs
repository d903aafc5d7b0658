//! Merges the counts of all nodes' probes, as one probe that sees everything.
//!
//! - [`settings`] has the options, [`app`] starts it with the HTTP interface.
//! - [`nodes`] finds and reads the probes. [`merge`] adds up by how much their counts grew.
//! - [`source`] offers the sums where another probe has the kernel's counts. [`watch`] runs the loop.

pub mod app;
mod merge;
mod nodes;
pub mod settings;
mod source;
mod watch;

#[cfg(fuzzing)]
pub(crate) use merge::Merged;
