//! The lab's native load generator: open-loop, seeded, the scenarios of `k6/`.
//!
//! A run: [`scenario`] says which streams there are and [`keys`] which keys they ask for; [`schedule`] says when each
//! request is due; [`open_loop`] sends it then, over a [`client`] connection, whether or not earlier ones are answered;
//! [`answer`] checks what comes back and [`tally`] counts it. [`refusal`] decides whether the figures mean anything, and
//! [`report`] writes them beside what [`predict`] expects. [`saturate`] is the other way to load: as fast as it goes. [`serve`]
//! starts runs for whoever asks over HTTP.

pub mod answer;
pub mod client;
pub mod config;
pub mod control;
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
pub mod stream_report;
pub mod tally;
