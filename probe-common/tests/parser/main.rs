//! The request parser against its specification.
//!
//! - `oracle`: what `httparse` and hyper's rules for bodies make of the same bytes
//! - `cases`: heads and streams with the count each must give
//! - `splits`: any cut of any stream counts the same, and as the oracle does
//! - `sequence`: repeats, overlaps, gaps, connections older than the probe

mod cases;
mod connection;
mod oracle;
mod sequence;
mod splits;
