//! Serves `/api/store`: the answer about a store.

use axum::Json;
use axum::extract::State;
use protocol::ErrorKind;
use protocol::probe_api::StoreAnswer;
use service::problem::Problem;

use super::state::ApiState;

/// The newest answer. 404 when the lab's shards are watched, 503 before the first answer.
pub(crate) async fn store(State(state): State<ApiState>) -> Result<Json<StoreAnswer>, Problem> {
    if state.probe.lab.is_some() {
        let why = "this probe watches the lab's shards; start one with `probe watch redis://HOST:PORT`";
        return Err(Problem::new(ErrorKind::NotFound, why));
    }
    let answer = state.probe.store.lock().clone();
    let answer = answer.ok_or_else(|| {
        Problem::new(ErrorKind::NotReady, "no answer yet: the first interval has not ended")
    })?;
    Ok(Json(StoreAnswer::clone(&answer)))
}
