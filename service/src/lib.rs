//! Shared by all processes: settings, logs, HTTP server, drain.
//!
//! The life of a process is `arguments → build → start → wait for a signal → drain → exit code`. [`process::run`]
//! runs it. [`args::ProcessArgs`] has the settings that all processes share. [`logs`] and one [`metrics::Metrics`]
//! registry are passed down.
//!
//! - [`server::Server`] answers HTTP/1.1 on one single-threaded runtime a core.
//! - [`limits`] derives the number of connections; [`overload`] counts what is shed, and bounds bodies and answers.
//! - [`health`] serves `/live`, `/ready` and `/metrics`, [`openapi`] the description of all routes.
//! - [`names::Names`] resolves host names in the background. [`members::Members`] lists processes of one kind.
//! - [`tasks::Tasks`] spawns every task. So a drain waits for all tasks and names those that did not end.
//! - [`traces`] exports spans to an OpenTelemetry collector.

pub mod args;
pub mod body;
pub mod budget;
pub mod clock;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod health;
mod healthcheck;
pub mod lean;
pub mod limits;
pub mod logs;
pub mod members;
pub mod metrics;
pub mod names;
pub mod openapi;
pub mod origin;
pub mod overload;
pub mod problem;
pub mod process;
pub mod server;
pub mod tasks;
pub mod traces;

mod accept;
mod connection;
mod connections;
mod exposition;
mod host;
mod listen;
mod reserve;
mod serve;
mod signals;
mod stream;
