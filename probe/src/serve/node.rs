//! Serves `/api/node`: the counts of this node, for an aggregator.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use protocol::ErrorKind;
use protocol::probe_api::NodeReport;
use serde::Deserialize;
use service::problem::Problem;

use super::state::ApiState;
use crate::node::report;
use crate::source::SourceError;

/// The query parameters.
#[derive(Debug, Deserialize)]
pub(crate) struct NodeQuery {
    only: Option<Only>,
}

/// The part of the report that is wanted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Only {
    Requests,
}

/// The counts, read for this request, and a comparison that began after it. 400 when the query is invalid, 404 for an
/// aggregator or a store's probe, 503 when the counts cannot be read.
pub(crate) async fn node(
    State(state): State<ApiState>,
    wanted: Result<Query<NodeQuery>, QueryRejection>,
) -> Result<Json<NodeReport>, Problem> {
    let Query(NodeQuery { only }) =
        wanted.map_err(|_| Problem::new(ErrorKind::BadRequest, "invalid query; allowed: only=requests"))?;
    if state.probe.lab.is_none() || state.probe.nodes.lock().is_some() {
        return Err(Problem::new(ErrorKind::NotFound, "this probe does not count a node's shards"));
    }
    let unreadable = |error: SourceError| Problem::new(ErrorKind::NotReady, error.to_string());
    if only.is_some() {
        return report::requests(&state.probe).map(Json).map_err(unreadable);
    }
    let stopping = || Problem::new(ErrorKind::NotReady, "the probe is stopping");
    let snapshot = state.comparisons.next().await.ok_or_else(stopping)?;
    let made = state.probe.read_tables(move |probe| report::full(probe, &snapshot)).await;
    let made = made.map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?;
    made.map(Json).map_err(unreadable)
}
