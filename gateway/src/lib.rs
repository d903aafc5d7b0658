//! The gateway: places keys on shards, caches values with single-flight, counts who asks for what.
//!
//! The path of one read: [`routes`] → `data` (takes the key from the raw path) → `placement` (which shard) → `cache` (a
//! copy in `entries`, or a `flight` to join or to begin), or what `negative` remembers → `replicas` (home, or a shard that
//! holds a copy of a hot key) → `upstream` (the call to the shard, over `wire`) → `answer` (what the shard said) → back
//! through `flight` to everybody who waits. A write goes `data` → `upstream`, then makes the `cache` forget and has
//! `replicas` bring the copies up to date. `key_counts` counts what clients ask for and what the shards are sent, `loads`
//! gives the verdict on it; `mitigation` has the switches, finds the hot keys once a second, chooses by itself when asked
//! to, and ranks what could be done; `hot_keys_api` tells the counts to whoever merges several gateways; `admin` and
//! `overview` answer the rest.
//!
//! One runtime a core serves its own connections with its own client to the shards; cache and statistics are shared.

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
