//! `GET` and `POST /admin/mitigation`, and the old `POST /admin/cache`, which is one of its switches.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use service::problem::Problem;
use std::sync::Arc;

use crate::mitigation::{CacheMode, Change};
use crate::state::Core;

pub(crate) async fn show(State(core): State<Arc<Core>>) -> Response {
    Json(core.shared.mitigations.report(&core.shared.placement)).into_response()
}

pub(crate) async fn change(State(core): State<Arc<Core>>, body: Body) -> Response {
    let shards = u64::from(core.shared.placement.count().get());
    match read(body, |body| Change::parse(body, shards)).await {
        Ok(change) => {
            core.shared.mitigations.change(&change);
            show(State(core)).await
        }
        Err(problem) => core.refuse(problem.into()),
    }
}

pub(crate) async fn cache(State(core): State<Arc<Core>>, body: Body) -> Response {
    match read(body, Change::parse_cache).await {
        Ok(change) => {
            let settings = core.shared.mitigations.change(&change);
            let enabled = settings.cache != CacheMode::Off;
            let answer = json!({"cache_enabled": enabled, "cache_ttl_seconds": settings.ttl_seconds});
            Json(answer).into_response()
        }
        Err(problem) => core.refuse(problem.into()),
    }
}

async fn read(body: Body, parse: impl Fn(&[u8]) -> Result<Change, Problem>) -> Result<Change, Problem> {
    parse(&service::body::read(body).await?)
}
