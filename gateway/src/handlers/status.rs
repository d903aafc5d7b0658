//! Handlers of `GET /health`, `GET /stats` and `GET /`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::ShardId;
use protocol::body::{GatewayHealth, GatewayStats, OK, ShardBreaker};
use std::sync::Arc;

use super::mitigation::{cache_state, state};
use crate::error::Error;
use crate::state::{Core, Shared};
use crate::upstream::shard_health::BreakerView;

pub(crate) async fn health() -> Json<GatewayHealth> {
    Json(GatewayHealth { status: OK.into(), service: "api-gateway".into() })
}

pub(crate) async fn stats(State(core): State<Arc<Core>>) -> Response {
    // Counting a large cache and ranking keys takes milliseconds. A blocking thread keeps this core's requests from
    // waiting.
    let of = Arc::clone(&core);
    let stats = tokio::task::spawn_blocking(move || GatewayStats {
        counts: of
            .shared
            .stats
            .report(cache_state(&of.shared.mitigations.settings()), of.shared.cache.size()),
        breakers: breakers(&of.shared),
        placement: of.shared.placement.scheme(),
        verdict: of.shared.stats.verdicts().verdict(),
        mitigation: state(&of),
    });
    match stats.await {
        Ok(stats) => Json(stats).into_response(),
        Err(_) => core.refuse(Error::Internal { what: "the statistics cannot be read" }),
    }
}

fn breakers(shared: &Shared) -> Vec<ShardBreaker> {
    let breakers = (0..).map(ShardId).zip(shared.breakers.breakers());
    let shown = |(shard_id, BreakerView { state, opened, refused })| ShardBreaker {
        shard_id,
        state,
        opened,
        refused,
    };
    breakers.map(shown).collect()
}

pub(crate) async fn page(State(core): State<Arc<Core>>) -> Response {
    match &core.shared.page_url {
        Some(url) => (StatusCode::FOUND, [(header::LOCATION, url.clone())]).into_response(),
        None => "The gateway of the Hot Partition Lab; see /stats and /metrics.\n".into_response(),
    }
}
