//! `/api/verdict`: whether a shard is hot, by kernel counts alone and by the gateway, and whether the two agree.

use axum::Json;
use axum::extract::State;
use protocol::probe_api::Verdicts;

use crate::serve::state::ApiState;

/// Both verdicts, as of the last second.
pub async fn verdict(State(state): State<ApiState>) -> Json<Verdicts> {
    let verdicts = state.probe.verdicts.lock().clone();
    Json(Verdicts::clone(&verdicts))
}
