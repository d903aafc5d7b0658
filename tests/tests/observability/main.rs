//! What people look at.
//!
//! - `documented`: docs/metrics.md is what the services register
//! - `rules`: Prometheus takes its configuration and rules, and alerts fire when they must and only then

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod documented;
mod rules;
