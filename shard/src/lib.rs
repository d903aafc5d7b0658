//! One shard of the store: a bounded map behind a service model with a real capacity.
//!
//! The path of a data request: [`routes`] → `handlers::data` → [`request_counts`] counts it as received → its key is read
//! and counted in [`stats`] → [`capacity`] serves it, queues it or sheds it → [`timer`] holds it for its service time →
//! [`store`] → the answer, and one outcome in [`request_counts`]. All runtimes of the process share the state: a shard has
//! one queue, one capacity and one set of counters, whatever the number of cores.

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
