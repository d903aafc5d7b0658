//! The gateway's routes.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use service::health;
use service::problem::{method_not_allowed, no_such_route};
use std::sync::Arc;

use crate::app::Core;
use crate::{admin, data, hot_keys_api, mitigation, origin, overview};

/// What spans of reads are called.
pub(crate) const GET_DATA: &str = "GET /data/{key}";
/// What spans of writes are called.
pub(crate) const POST_DATA: &str = "POST /data";

/// All routes, for the core they run on.
pub fn router(core: Arc<Core>) -> Router {
    let traced = |name| from_fn_with_state((Arc::clone(&core), name), admin::traced);
    let admin = Router::new()
        .route("/admin/cache", post(mitigation::api::cache).layer(traced("POST /admin/cache")))
        .route(
            "/admin/mitigation",
            post(mitigation::api::change).layer(traced("POST /admin/mitigation")).get(mitigation::api::show),
        )
        .route("/admin/hot-keys", get(hot_keys_api::show))
        .route("/admin/what-if", get(mitigation::what_if::show))
        .route("/admin/reset", post(admin::reset).layer(traced("POST /admin/reset")))
        .route("/admin/shard-mapping/{key}", get(admin::shard_mapping))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&core), origin::guard));
    Router::new()
        .route("/data/{key}", get(data::get))
        .route("/data", post(data::set))
        .route("/stats", get(overview::stats))
        .route("/health", get(overview::health))
        .route("/", get(overview::page))
        .merge(admin)
        .merge(health::routes(core.shared.health.clone(), Arc::clone(&core.shared.metrics)))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(core)
}
