//! Tests metrics, rules and dashboards.
//!
//! - `documented`: docs/metrics.md matches the registered metrics
//! - `rules`: Prometheus accepts its configuration and rules, and alerts fire only when they must
//! - `dashboards`: they match their source, every panel has a description, and every name exists
//! - `live`: every query of panels, rules and alerts runs on Prometheus and a lab under celebrity load
//! - `store`: the same for the panels and alerts of a store, on a Redis Cluster
//! - `queries`: sends the queries

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod dashboards;
mod documented;
mod live;
mod queries;
mod rules;
mod store;
