//! One shard of the store: a bounded map behind a service model with a real capacity.
//!
//! The path of a data request: [`routes`] → `data` → [`accounts`] counts it as received → the key is read and counted in
//! [`stats`] → [`capacity`] serves it, lets it wait or sheds it → [`timer`] holds it for its service time → [`store`] →
//! the answer, and one outcome in [`accounts`]. Everything is shared by all runtimes of the process: a shard has one
//! queue, one capacity and one set of counters, however many cores serve it.

pub mod app;
pub mod capacity;
pub mod config;
pub mod error;
pub mod metrics;
pub mod request_counts;
pub mod routes;
pub mod stats;
pub mod store;
pub mod timer;

mod handlers;
mod state;
