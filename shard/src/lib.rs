//! One shard of the store: a bounded map behind a service model.
//!
//! A data request passes these stages:
//!
//! 1. [`routes`] selects `handlers::data`.
//! 2. [`request_counts`] counts the request as received.
//! 3. The key is parsed, and [`stats`] counts it.
//! 4. [`capacity`] serves, queues or sheds the request.
//! 5. [`timer`] holds it for its service time.
//! 6. [`store`] reads or writes the value.
//! 7. The answer is sent, and [`request_counts`] counts one outcome.
//!
//! All runtimes of the process share this state. A shard has one queue, one capacity and one set of counters, whatever
//! the number of cores.

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
