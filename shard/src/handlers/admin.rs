//! `POST /admin/*`, for programs only.
//!
//! `reset`: counts, window and stored values go; what was received and the Prometheus counters stay.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use protocol::ErrorKind;
use protocol::body::{RESET, ShardReset};
use service::problem::Problem;
use std::sync::Arc;

use crate::state::Shard;

pub(crate) async fn reset(State(shard): State<Arc<Shard>>) -> Json<ShardReset> {
    shard.stats.reset();
    shard.counts.reset();
    shard.store.clear();
    Json(ShardReset { status: RESET.into(), shard_id: shard.id })
}

/// Refuses what a browser page sends, of whichever origin: else any page that a person has open could reset a shard on
/// the same machine. Browsers name the page in `Origin`; programs send none.
pub(crate) async fn programs_only(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && request.headers().contains_key(header::ORIGIN) {
        let detail = "pages may not call this; programs do, and send no Origin header";
        return Problem::new(ErrorKind::OriginNotAllowed, detail).into_response();
    }
    next.run(request).await
}
