//! The request parser against its specification.
//!
//! - `fast_path`: the fast path gives the same result as the parser
//! - `oracle`: what `httparse` and hyper's rules for bodies make of the same bytes
//! - `cases`: heads and streams with the count each must give
//! - `hyper_itself`: a server of hyper's over the same bytes
//! - `splits`: any cut of any stream counts the same, and as the oracle does
//! - `accepted`: segments that TCP drops, or takes later
//! - `timing`: which requests are timed
//! - `sequence`: repeats, overlaps, gaps, connections older than the probe

#![expect(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod accepted;
mod cases;
mod connection;
mod fast_path;
mod hyper_itself;
mod oracle;
mod sequence;
mod splits;
mod timing;
