//! What every process of the lab shares.
//!
//! A process is `arguments → build → start → wait for a signal → drain → exit code`: [`process::main`] drives that, with
//! [`args::ProcessArgs`] as the settings all have in common, [`logs`] and one [`metrics::Metrics`] registry passed down.
//! A [`server::Server`] answers HTTP/1.1 on one single-threaded runtime a core; [`health`] gives `/live`, `/ready` and
//! `/metrics`; every task goes through [`tasks::Tasks`], so that a drain can wait for it and name what was left.
//! [`traces`] tells an OpenTelemetry collector of requests.

pub mod args;
pub mod batched;
pub mod body;
pub mod clock;
pub mod health;
mod healthcheck;
pub mod hot_partition;
pub mod key_series;
pub mod logs;
pub mod metrics;
pub mod origin;
pub mod problem;
pub mod process;
pub mod server;
pub mod tasks;
pub mod traces;

mod accept;
mod listen;
mod signals;
