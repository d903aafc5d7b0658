//! Serves `/api/verdict`: the kernel's and the gateway's verdict.

use axum::Json;
use axum::extract::State;
use protocol::probe_api::Verdicts;

use crate::serve::state::ApiState;

/// Both verdicts of the last second.
pub(crate) async fn verdict(State(state): State<ApiState>) -> Json<Verdicts> {
    let verdicts = state.probe.verdicts.lock().clone();
    Json(Verdicts::clone(&verdicts))
}
