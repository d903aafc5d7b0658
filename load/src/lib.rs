//! The lab's native load generator: open loop, seeded.
//!
//! It has the scenarios of `k6/`.
//!
//! - [`run`] runs the streams of a [`scenario`] with their [`keys`].
//! - [`schedule`] determines when each request is due.
//! - [`open_loop`] sends a request when it is due over a [`client`] connection, whether or not earlier ones are
//!   answered.
//! - [`gateway_requests`] sends a stream's requests to the gateway, `resp` to a Redis or Valkey store.
//! - [`answer`] checks the answers and [`tally`] counts them.
//! - [`refusal`] rejects meaningless figures.
//! - [`report`] compares the counts with the prediction of [`predict`], and [`summary`] writes the result.
//! - [`saturate`] is the closed loop: it sends as fast as requests are answered.
//! - [`serve`] starts runs over HTTP.

pub mod address;
pub mod answer;
pub mod client;
pub mod config;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod gateway;
pub mod gateway_requests;
pub mod keys;
pub mod open_loop;
pub mod predict;
pub mod progress;
pub mod refusal;
pub mod report;
#[cfg(feature = "stores")]
pub mod resp;
pub mod run;
pub mod saturate;
pub mod scenario;
pub mod schedule;
pub mod serve;
pub mod summary;
pub mod tally;
