//! What people look at.
//!
//! - `documented`: docs/metrics.md is what the services register
//! - `rules`: Prometheus takes its configuration and rules, and alerts fire when they must and only then
//! - `dashboards`: they are those of their source, every panel is explained, and no name dangles
//! - `live`: every query of panels, rules and alerts against a real Prometheus and a lab under celebrity load

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod dashboards;
mod documented;
mod live;
mod rules;
