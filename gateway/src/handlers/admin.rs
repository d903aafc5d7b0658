//! `POST /admin/reset`, `GET /admin/shard-mapping/{key}`.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use protocol::ShardId;
use serde_json::json;
use std::sync::Arc;

use crate::handlers::data::key_of;
use crate::state::Core;

/// Serves a change within a span of this name; what is logged of it becomes the span's event.
pub(crate) async fn traced(
    State((core, name)): State<(Arc<Core>, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    core.shared.traces.serve(name, &uri, &headers, next.run(request)).await
}

pub(crate) async fn reset(State(core): State<Arc<Core>>) -> Response {
    core.shared.stats.reset();
    core.shared.mitigations.reset();
    core.shared.cache.clear();
    core.shared.negatives.clear();
    Json(json!({"status": "reset"})).into_response()
}

pub(crate) async fn shard_mapping(State(core): State<Arc<Core>>, uri: Uri) -> Response {
    let mapping = key_of(&uri, "/admin/shard-mapping/").map(|key| {
        let shard: ShardId = core.shared.placement.owner(&key);
        json!({"key": key, "shard_id": shard, "shard_url": core.shared.placement.url(shard), "replicas": core.shared.replicas.of(&key, shard)})
    });
    match mapping {
        Ok(mapping) => Json(mapping).into_response(),
        Err(err) => core.refuse(err),
    }
}
