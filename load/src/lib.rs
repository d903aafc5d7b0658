//! The lab's native load generator: open-loop, seeded, the scenarios of `k6/`.
//!
//! A [`run`] takes its streams from [`scenario`] and their keys from [`keys`]. [`schedule`] determines when each request
//! is due, and [`open_loop`] sends it then over a [`client`] connection, whether or not earlier ones are answered.
//! [`answer`] checks what comes back and [`tally`] counts it. [`refusal`] rejects meaningless figures, [`report`] puts
//! the others beside the prediction of [`predict`], and [`summary`] writes them. [`saturate`] is the closed loop: as fast
//! as the answers come. [`serve`] starts runs over HTTP.

pub mod address;
pub mod answer;
pub mod client;
pub mod config;
pub mod error;
pub mod gateway;
pub mod keys;
pub mod open_loop;
pub mod predict;
pub mod progress;
pub mod refusal;
pub mod report;
pub mod run;
pub mod saturate;
pub mod scenario;
pub mod schedule;
pub mod serve;
pub mod summary;
pub mod tally;
