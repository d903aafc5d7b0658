//! Handlers of `/admin/mitigation` and of the older `POST /admin/cache`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use protocol::body::{CacheMode, CacheState, MitigationChange, MitigationSettings};
use service::problem::Problem;
use std::sync::Arc;

use crate::mitigation::settings::{parse, parse_cache};
use crate::state::Core;

pub(crate) async fn show(State(core): State<Arc<Core>>) -> Response {
    Json(core.shared.mitigations.report()).into_response()
}

pub(crate) async fn change(State(core): State<Arc<Core>>, body: Body) -> Response {
    let shards = u64::from(core.shared.placement.count().get());
    match read(body, |body| parse(body, shards)).await {
        Ok(change) => {
            core.shared.mitigations.change(&change);
            show(State(core)).await
        }
        Err(problem) => core.refuse(problem.into()),
    }
}

pub(crate) async fn cache(State(core): State<Arc<Core>>, body: Body) -> Response {
    match read(body, parse_cache).await {
        Ok(change) => Json(cache_state(&core.shared.mitigations.change(&change))).into_response(),
        Err(problem) => core.refuse(problem.into()),
    }
}

/// The cache's part of the settings.
pub(super) fn cache_state(settings: &MitigationSettings) -> CacheState {
    CacheState { cache_enabled: settings.cache != CacheMode::Off, cache_ttl_seconds: settings.ttl_seconds }
}

async fn read(
    body: Body,
    parse: impl Fn(&[u8]) -> Result<MitigationChange, Problem>,
) -> Result<MitigationChange, Problem> {
    parse(&service::body::read(body).await?)
}
