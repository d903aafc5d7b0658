//! `GET /health`, `GET /stats` and `GET /`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::body::GatewayStats;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::app::Core;

pub(crate) async fn health() -> Json<Value> {
    Json(json!({"status": "ok", "service": "api-gateway"}))
}

pub(crate) async fn stats(State(core): State<Arc<Core>>) -> Json<GatewayStats> {
    let cache = &core.shared.cache;
    Json(core.shared.stats.report(cache.settings(), cache.size()))
}

pub(crate) async fn page(State(core): State<Arc<Core>>) -> Response {
    match &core.shared.page_url {
        Some(url) => (StatusCode::FOUND, [(header::LOCATION, url.clone())]).into_response(),
        None => "The gateway of the Hot Partition Lab; see /stats and /metrics.\n".into_response(),
    }
}
