//! Handlers of `POST /admin/reset` and `GET /admin/shard-mapping/{key}`.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use protocol::body::{GatewayReset, RESET, ShardMapping};
use std::sync::Arc;

use super::data::key_of;
use super::peers;
use crate::state::Core;

/// Runs a handler within a span named `name`. Logs of the handler become events of the span.
pub(crate) async fn traced(
    State((core, name)): State<(Arc<Core>, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    core.shared.traces.serve(name, &uri, &headers, next.run(request)).await
}

pub(crate) async fn reset(State(core): State<Arc<Core>>) -> Json<GatewayReset> {
    core.shared.mitigations.record_reset();
    core.shared.reset();
    Json(GatewayReset { status: RESET.into(), gateways: peers::share(&core).await })
}

pub(crate) async fn shard_mapping(State(core): State<Arc<Core>>, uri: Uri) -> Response {
    let key = match key_of(&uri, "/admin/shard-mapping/") {
        Ok(key) => key,
        Err(err) => return core.refuse(err),
    };
    let shard_id = core.shared.placement.owner(&key);
    let replicas = core.shared.replicas.of(&key, shard_id);
    Json(ShardMapping { key, replicas, shard_id, shard_url: core.shared.placement.url(shard_id) })
        .into_response()
}
