//! Serves `/api/compare`: kernel and shards side by side.

use axum::Json;
use axum::extract::State;
use protocol::ErrorKind;
use protocol::probe_api::{Compare, OfShard, OfShards};
use service::problem::Problem;

use super::state::ApiState;

/// A comparison taken for this request. 503 when the probe is stopping.
pub(crate) async fn compare(State(state): State<ApiState>) -> Result<Json<Compare>, Problem> {
    let stopping = || Problem::new(ErrorKind::NotReady, "the probe is stopping");
    let snapshot = state.comparisons.fresh().await.ok_or_else(stopping)?;
    Ok(Json(Compare {
        taken_at: snapshot.taken_at,
        shards: OfShard::numbered(snapshot.shards),
        hot_keys: OfShards { shards: OfShard::numbered(snapshot.hot_keys) },
        store: snapshot.store.as_deref().cloned(),
    }))
}
