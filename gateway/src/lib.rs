//! The gateway: placement, cache with single-flight, request counts by key.
//!
//! A read passes these stages:
//!
//! 1. [`routes`] selects `handlers::data`, which parses the key from the raw path.
//! 2. `placement` maps the key to its home.
//! 3. `cache` decides how to answer (`cache::Read`): a copy, another read's fetch (single-flight), a remembered error,
//!    or a new fetch.
//! 4. `replicas::client` reads from the home, or from another shard that has a copy of a hot key.
//! 5. `upstream` calls the shard, and `upstream::answer` validates the answer.
//!
//! A write goes to the home shard. Then the cache forgets the key, and the copies on other shards are updated.
//!
//! `key_counts` counts client requests and requests sent to the shards by key. `verdicts` judges the requests sent.
//! `stats` has all other counts. `mitigation` has the switches and searches for hot keys once a second. It also selects
//! mitigations when `auto` is on, and predicts the effect of each mitigation. `sharing` keeps the switches of all gateways
//! the same; `peers` has the other gateways.
//!
//! Each core has one runtime, which serves its own connections with its own shard client (`state::Core`). Cache and
//! statistics are shared (`state::Shared`).

pub mod app;
pub mod config;
pub mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod metrics;
pub mod routes;

mod cache;
mod handlers;
mod http1;
mod key_counts;
mod mitigation;
mod peers;
mod placement;
mod replicas;
mod sharing;
mod state;
mod stats;
mod upstream;
mod verdicts;
