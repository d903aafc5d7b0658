//! The probe's routes; all are GET.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use service::health::{self, Health};
use service::metrics::Metrics;
use service::problem;

use crate::api::{self, ApiState};
use crate::events_api::{self, EventsState};
use crate::{gateways_api, keys_api, latency_api, page, verdict_api};

/// All routes.
pub fn router(state: ApiState, health: Health, metrics: Arc<Metrics>) -> Router {
    let events = EventsState::new(Arc::clone(&state.probe), health.clone());
    Router::new()
        .route("/api/events", get(events_api::events))
        .with_state(events)
        .merge(page::routes(state.probe.feed.links()))
        .merge(api(state))
        .merge(health::routes(health, metrics))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::method_not_allowed)
}

fn api(state: ApiState) -> Router {
    Router::new()
        .route("/status", get(api::status))
        .route("/api/compare", get(api::compare))
        .route("/api/shards", get(api::shards))
        .route("/api/gateways", get(gateways_api::gateways))
        .route("/api/keys", get(keys_api::keys))
        .route("/api/latency", get(latency_api::latency))
        .route("/api/verdict", get(verdict_api::verdict))
        .with_state(state)
}
