//! Serves a service's OpenAPI document at `/openapi.json`.

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;

/// The route of `document`, a file of `docs/openapi/`.
pub fn route<S>(document: &'static str) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    Router::new()
        .route("/openapi.json", get(move || async move { ([(header::CONTENT_TYPE, JSON)], document) }))
}
