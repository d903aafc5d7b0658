//! The request parser against its specification.
//!
//! - `ordinary`: reads that are told at a glance are read as all others are
//! - `oracle`: what `httparse` and hyper's rules for bodies make of the same bytes
//! - `cases`: heads and streams with the count each must give
//! - `hyper_itself`: a server of hyper's over the same bytes
//! - `splits`: any cut of any stream counts the same, and as the oracle does
//! - `timing`: which requests are timed
//! - `sequence`: repeats, overlaps, gaps, connections older than the probe

#![expect(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod cases;
mod connection;
mod hyper_itself;
mod oracle;
mod ordinary;
mod sequence;
mod splits;
mod timing;
