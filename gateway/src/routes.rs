//! The gateway's routes.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use service::problem::{method_not_allowed, no_such_route};
use service::server::Routes;
use service::{health, openapi};
use std::sync::Arc;

use crate::handlers::{admin, data, hot_keys, mitigation, origin, peers, status, what_if};
use crate::state::Core;

/// Describes all routes.
const OPENAPI: &str = include_str!("../../docs/openapi/gateway.json");

/// All routes, for the core they run on. Reads of keys are served on the lean way.
pub fn routes(core: Arc<Core>) -> Routes {
    let reads = Arc::new(data::LeanReads(Arc::clone(&core)));
    Routes::from(router(core)).with_reads(data::PREFIX, reads)
}

/// All routes.
pub fn router(core: Arc<Core>) -> Router {
    let traced = |name| from_fn_with_state((Arc::clone(&core), name), admin::traced);
    // What the live page calls.
    let guarded = Router::new()
        .route("/stats", get(status::stats))
        .route("/admin/cache", post(mitigation::cache).layer(traced("POST /admin/cache")))
        .route(
            "/admin/mitigation",
            post(mitigation::change).layer(traced("POST /admin/mitigation")).get(mitigation::show),
        )
        .route("/admin/hot-keys", get(hot_keys::show))
        .route("/admin/peers", post(peers::exchange))
        .route("/admin/what-if", get(what_if::show))
        .route("/admin/reset", post(admin::reset).layer(traced("POST /admin/reset")))
        .route("/admin/shard-mapping/{key}", get(admin::shard_mapping))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&core), origin::guard));
    Router::new()
        .route("/data/{key}", get(data::get))
        .route("/data", post(data::set))
        .route("/health", get(status::health))
        .route("/", get(status::page))
        .merge(guarded)
        .merge(openapi::route(OPENAPI))
        .merge(health::routes(core.shared.health.clone(), Arc::clone(&core.shared.metrics)))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(core)
}
