//! Handlers of `GET /health` and `GET /stats`.

use axum::Json;
use axum::extract::State;
use hotspot::hot_keys::{hot, verdict};
use protocol::body::{HotKey, OK, ShardHealth, ShardStats, TopKey};
use protocol::limits::SHARD_TOP_KEYS;
use std::sync::Arc;

use crate::state::Shard;

pub(crate) async fn health(State(shard): State<Arc<Shard>>) -> Json<ShardHealth> {
    Json(ShardHealth { status: OK.into(), shard_id: shard.id })
}

pub(crate) async fn stats(State(shard): State<Arc<Shard>>) -> Json<ShardStats> {
    let totals = shard.counts.totals();
    let top = shard.stats.top(SHARD_TOP_KEYS).into_iter();
    let recent = shard.stats.recent();
    let verdict = verdict(shard.id.index(), recent.total, recent.span.as_secs_f64(), &recent.top);
    let hot = hot(recent.total, recent.top).into_iter();
    Json(ShardStats {
        shard_id: shard.id,
        total_keys: shard.store.keys(),
        total_accesses: totals.accesses,
        requests_received: totals.received,
        started_at: shard.started_at,
        active_requests: shard.capacity.active() as u64,
        requests_served: totals.served,
        requests_rejected: totals.rejected,
        requests_shed: totals.shed,
        top_keys: top.map(|c| TopKey { key: c.key, count: c.count, error: c.error }).collect(),
        hot_keys: hot.map(|h| HotKey { key: h.key, ratio: h.ratio, count: h.count }).collect(),
        verdict,
    })
}
