//! The gateway: placement, cache with single-flight, request counts by key.
//!
//! The path of one read: [`routes`] → `handlers::data` takes the key from the raw path → `placement` names its home → `cache`
//! decides how it is answered (`cache::Read`): a copy, the fetch of another read (single-flight), a remembered error, or a
//! fetch of its own → `replicas::client` reads at home, or at a shard with a copy of a hot key → `upstream` calls the shard →
//! `upstream::answer` reads its answer. A write goes the same way to its home; then the cache forgets the key and the
//! copies are brought up to date.
//!
//! `key_counts` counts client requests and requests sent to the shards by key, `verdicts` judges the latter, and `stats` has
//! all other counts. `mitigation` has the switches, searches the hot keys once a second, chooses by itself when `auto` is on,
//! and predicts what each mitigation would do.
//!
//! One runtime a core serves its own connections with its own client to the shards (`state::Core`); cache and statistics
//! are shared (`state::Shared`).

pub mod app;
pub mod config;
pub mod error;
pub mod metrics;
pub mod routes;

mod cache;
mod handlers;
mod key_counts;
mod mitigation;
mod placement;
mod replicas;
mod state;
mod stats;
mod upstream;
mod verdicts;
