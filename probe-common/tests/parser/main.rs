//! Tests the request parser against its specification.
//!
//! - `fast_path`: the fast path returns the same result as the parser
//! - `oracle`: the result of `httparse` and hyper's rules for bodies for the same bytes
//! - `cases`: heads and streams with their expected counts
//! - `hyper_itself`: a hyper server reads the same bytes
//! - `splits`: the counts equal the oracle's, however a stream is split
//! - `accepted`: segments that TCP drops or accepts later
//! - `timing`: which requests are timed
//! - `responses`: responses are counted, however a stream is split and whatever head is cached
//! - `sequence`: retransmissions, overlaps, gaps, connections older than the probe

#![expect(clippy::unwrap_used, reason = "a test that cannot run has failed")]

mod accepted;
mod cases;
mod connection;
mod fast_path;
mod hyper_itself;
mod oracle;
mod responses;
mod sequence;
mod splits;
mod timing;
