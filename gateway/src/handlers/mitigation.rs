//! Handlers of `/admin/mitigation` and of the older `POST /admin/cache`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use protocol::body::{
    CacheMode, CacheState, CacheSwitched, MitigationChange, MitigationSettings, MitigationState,
};
use service::problem::Problem;
use std::sync::Arc;

use super::peers;
use crate::mitigation::settings::{parse, parse_cache};
use crate::state::Core;

pub(crate) async fn show(State(core): State<Arc<Core>>) -> Response {
    Json(state(&core)).into_response()
}

/// The switches, the hot keys, and at how many gateways the switches hold.
pub(super) fn state(core: &Core) -> MitigationState {
    MitigationState { gateways: peers::report(core), ..core.shared.mitigations.report() }
}

pub(crate) async fn change(State(core): State<Arc<Core>>, body: Body) -> Response {
    let shards = u64::from(core.shared.placement.count().get());
    match read(&core, body, |body| parse(body, shards)).await {
        Ok(change) => {
            core.shared.mitigations.change(&change);
            peers::share(&core).await;
            show(State(core)).await
        }
        Err(problem) => core.refuse(problem.into()),
    }
}

pub(crate) async fn cache(State(core): State<Arc<Core>>, body: Body) -> Response {
    match read(&core, body, parse_cache).await {
        Ok(change) => {
            let state = cache_state(&core.shared.mitigations.change(&change));
            Json(CacheSwitched { state, gateways: peers::share(&core).await }).into_response()
        }
        Err(problem) => core.refuse(problem.into()),
    }
}

/// The cache's part of the settings.
pub(super) fn cache_state(settings: &MitigationSettings) -> CacheState {
    CacheState { cache_enabled: settings.cache != CacheMode::Off, cache_ttl_seconds: settings.ttl_seconds }
}

async fn read(
    core: &Core,
    body: Body,
    parse: impl Fn(&[u8]) -> Result<MitigationChange, Problem>,
) -> Result<MitigationChange, Problem> {
    parse(&core.shared.overload.read(body).await?)
}
