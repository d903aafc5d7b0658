//! `GET /health`, `GET /stats` and `GET /`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hotspot::verdict::Verdict;
use protocol::Key;
use protocol::body::GatewayCounts;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::error::Error;
use crate::mitigation;
use crate::state::Core;

/// The body of `/stats`.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    stats: GatewayCounts,
    /// How keys are placed on shards.
    placement: &'static str,
    verdict: Verdict<Key>,
    mitigation: mitigation::Report,
}

pub(crate) async fn health() -> Json<Value> {
    Json(json!({"status": "ok", "service": "api-gateway"}))
}

pub(crate) async fn stats(State(core): State<Arc<Core>>) -> Response {
    // Counting a large cache and ranking the keys takes milliseconds, which requests on this core shall not wait for.
    let shared = Arc::clone(&core.shared);
    let report = tokio::task::spawn_blocking(move || {
        let stats = shared.stats.report(&shared.mitigations.settings(), shared.cache.size());
        let (verdict, mitigation) =
            (shared.stats.loads().verdict(), shared.mitigations.report(&shared.placement));
        Report { stats, placement: shared.placement.scheme().name(), verdict, mitigation }
    });
    match report.await {
        Ok(report) => Json(report).into_response(),
        Err(_) => core.refuse(Error::Internal { what: "the statistics cannot be read" }),
    }
}

pub(crate) async fn page(State(core): State<Arc<Core>>) -> Response {
    match &core.shared.page_url {
        Some(url) => (StatusCode::FOUND, [(header::LOCATION, url.clone())]).into_response(),
        None => "The gateway of the Hot Partition Lab; see /stats and /metrics.\n".into_response(),
    }
}
