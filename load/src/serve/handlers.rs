//! Handles `GET`, `POST` and `DELETE /scenarios`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::ErrorKind;
use protocol::body::{ScenarioOverview, ScenarioRequest};
use service::problem::Problem;
use std::sync::Arc;

use super::Serving;

/// Maximum length of a run started by a page, in seconds.
const MAX_SECONDS: f64 = 3_600.0;
/// Maximum factor for a scenario's rate.
const MAX_FACTOR: f64 = 100.0;

pub(super) async fn show(State(serving): State<Arc<Serving>>) -> Json<ScenarioOverview> {
    Json(serving.starter.overview())
}

pub(super) async fn start(
    State(serving): State<Arc<Serving>>,
    body: Body,
) -> Result<(StatusCode, Json<ScenarioOverview>), Problem> {
    let bad = |detail: String| Problem::new(ErrorKind::BadBody, detail);
    let body = serving.overload.read(body).await?;
    let request: ScenarioRequest = serde_json::from_slice(&body).map_err(|err| {
        bad(format!(
            "the body must be an object such as {{\"scenario\":\"celebrity\",\"duration\":60,\"rate_factor\":1}}: {err}"
        ))
    })?;
    if request.duration > MAX_SECONDS || request.rate_factor > MAX_FACTOR {
        return Err(bad(format!(
            "at most {MAX_SECONDS} seconds and {MAX_FACTOR} times the scenario's rate; for more, use `load run`"
        )));
    }
    serving.starter.start(request)?;
    Ok((StatusCode::ACCEPTED, Json(serving.starter.overview())))
}

pub(super) async fn stop(State(serving): State<Arc<Serving>>) -> Json<ScenarioOverview> {
    serving.starter.stop().await;
    Json(serving.starter.overview())
}
