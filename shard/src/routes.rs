//! The routes of a shard.

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use service::health::{self, Health};
use service::metrics::Metrics;
use service::openapi;
use service::problem::{method_not_allowed, no_such_route};
use std::sync::Arc;

use crate::handlers::{admin, data, status};
use crate::state::Shard;

/// Describes all routes.
const OPENAPI: &str = include_str!("../../docs/openapi/shard.json");

/// All routes of a shard.
pub fn router(shard: Arc<Shard>, health: Health, metrics: Arc<Metrics>) -> Router {
    let admin = Router::new()
        .route("/admin/reset", post(admin::reset))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(admin::programs_only));
    Router::new()
        .route("/data/{key}", get(data::get))
        .route("/data", post(data::set))
        .route("/health", get(status::health))
        .route("/stats", get(status::stats))
        .merge(admin)
        .merge(openapi::route(OPENAPI))
        .merge(health::routes(health, metrics))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(shard)
}
