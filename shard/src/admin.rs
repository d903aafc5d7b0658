//! `POST /admin/reset`: counts, window and stored values go; what was received and the Prometheus counters stay.

use axum::Json;
use axum::extract::State;
use protocol::ShardId;
use serde::Serialize;
use std::sync::Arc;

use crate::app::Shard;

#[derive(Serialize)]
pub(crate) struct ResetAnswer {
    status: &'static str,
    shard_id: ShardId,
}

pub(crate) async fn reset(State(shard): State<Arc<Shard>>) -> Json<ResetAnswer> {
    shard.stats.reset();
    shard.accounts.reset();
    shard.store.clear();
    Json(ResetAnswer { status: "reset", shard_id: shard.id })
}
