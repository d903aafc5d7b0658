//! Defines the probe's routes; all are GET.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use service::health::{self, Health};
use service::metrics::Metrics;
use service::openapi;
use service::problem;

use crate::serve::events::{self, EventsState};
use crate::serve::state::ApiState;
use crate::serve::{compare, gateways, keys, latency, node, page, shards, status, store, verdict};

/// Describes all routes.
const OPENAPI: &str = include_str!("../../docs/openapi/probe.json");

/// The router with all routes.
pub fn router(state: ApiState, health: Health, metrics: Arc<Metrics>) -> Router {
    let events = EventsState::new(Arc::clone(&state.probe), health.clone());
    Router::new()
        .route("/api/events", get(events::events))
        .with_state(events)
        .merge(page::routes(state.probe.feed.links()))
        .merge(api(state))
        .merge(openapi::route(OPENAPI))
        .merge(health::routes(health, metrics))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::method_not_allowed)
}

fn api(state: ApiState) -> Router {
    Router::new()
        .route("/status", get(status::status))
        .route("/api/compare", get(compare::compare))
        .route("/api/shards", get(shards::shards))
        .route("/api/gateways", get(gateways::gateways))
        .route("/api/keys", get(keys::keys))
        .route("/api/latency", get(latency::latency))
        .route("/api/node", get(node::node))
        .route("/api/verdict", get(verdict::verdict))
        .route("/api/store", get(store::store))
        .with_state(state)
}
