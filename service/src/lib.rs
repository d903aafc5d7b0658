//! Shared by all processes of the lab: settings, logs, HTTP server, drain.
//!
//! A process is `arguments → build → start → wait for a signal → drain → exit code`: [`process::main`] drives that, with
//! [`args::ProcessArgs`] as the settings all have in common, [`logs`] and one [`metrics::Metrics`] registry passed down.
//! A [`server::Server`] answers HTTP/1.1 on one single-threaded runtime a core; [`health`] gives `/live`, `/ready` and
//! `/metrics`; every task goes through [`tasks::Tasks`], so a drain waits for it and names what is left.
//! [`traces`] exports spans to an OpenTelemetry collector.

pub mod args;
pub mod body;
pub mod clock;
pub mod health;
mod healthcheck;
pub mod logs;
pub mod metrics;
pub mod origin;
pub mod problem;
pub mod process;
pub mod server;
pub mod tasks;
pub mod traces;

mod accept;
mod connection;
mod host;
mod listen;
mod signals;
