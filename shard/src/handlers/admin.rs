//! Handlers of `POST /admin/*`, for programs only.
//!
//! `reset` clears the counts, the window and the stored values. The counts of received requests and the Prometheus
//! counters keep their values.

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

/// Refuses requests of browser pages, whatever their origin. Otherwise any open page could reset a shard on the same
/// machine. Browsers send an `Origin` header with a POST; programs do not.
pub(crate) async fn programs_only(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && request.headers().contains_key(header::ORIGIN) {
        let detail = "web pages may not call this; send the request without an Origin header";
        return Problem::new(ErrorKind::OriginNotAllowed, detail).into_response();
    }
    next.run(request).await
}
