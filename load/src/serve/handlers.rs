//! `GET`, `POST` and `DELETE /scenarios`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use protocol::ErrorKind;
use serde::Deserialize;
use service::problem::Problem;
use std::sync::Arc;

use super::Serving;
use super::starter::{Overview, Wish};

/// The longest a page may load, in seconds.
const MOST_SECONDS: f64 = 3_600.0;
/// The most a page may multiply a scenario's rate by.
const MOST_FACTOR: f64 = 100.0;

/// The body of `POST`.
#[derive(Debug, Deserialize)]
struct StartBody {
    scenario: String,
    #[serde(default = "usual_seconds")]
    duration: f64,
    #[serde(default = "usual_factor")]
    rate_factor: f64,
}

const fn usual_seconds() -> f64 {
    60.0
}

const fn usual_factor() -> f64 {
    1.0
}

pub(super) async fn show(State(serving): State<Arc<Serving>>) -> Json<Overview> {
    Json(serving.starter.overview())
}

pub(super) async fn start(
    State(serving): State<Arc<Serving>>,
    body: Body,
) -> Result<(StatusCode, Json<Overview>), Problem> {
    let bad = |detail: String| Problem::new(ErrorKind::BadBody, detail);
    let body = service::body::read(body).await?;
    let asked: StartBody = serde_json::from_slice(&body).map_err(|err| {
        bad(format!(
            "the body must be an object such as {{\"scenario\":\"celebrity\",\"duration\":60,\"rate_factor\":1}}: {err}"
        ))
    })?;
    if asked.duration > MOST_SECONDS || asked.rate_factor > MOST_FACTOR {
        return Err(bad(format!(
            "at most {MOST_SECONDS} seconds and {MOST_FACTOR} times the scenario's rate; for more, use `load run`"
        )));
    }
    let StartBody { scenario, duration, rate_factor } = asked;
    serving.starter.start(Wish { scenario, duration, rate_factor })?;
    Ok((StatusCode::ACCEPTED, Json(serving.starter.overview())))
}

pub(super) async fn stop(State(serving): State<Arc<Serving>>) -> Json<Overview> {
    serving.starter.stop().await;
    Json(serving.starter.overview())
}
