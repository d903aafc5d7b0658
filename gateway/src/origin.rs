//! Which browser pages may call `/admin/*`.
//!
//! A browser names the page's origin in `Origin`; programs send none and pass. Without this any page a person has open
//! could switch the cache of a lab on the same machine.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

use crate::app::Core;
use crate::error::Error;

/// Seconds for which a browser may remember the answer to a preflight.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// Answers preflights, refuses writes from pages that are not allowed, and lets allowed pages read the answer.
pub(crate) async fn guard(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next().cloned() else {
        return next.run(request).await;
    };
    let allowed = origins.next().is_none() && core.shared.admin_origins.contains(&origin);
    let writes = matches!(*request.method(), Method::POST | Method::OPTIONS);
    let mut response = if !allowed && writes {
        let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
        core.refuse(Error::OriginNotAllowed { origin })
    } else if request.method() == Method::OPTIONS {
        preflight()
    } else if request.method() == Method::POST && !declares_json(request.headers()) {
        core.refuse(Error::NotJson)
    } else {
        next.run(request).await
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    if allowed {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST")),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type")),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// `application/json`, parameters such as a charset aside.
fn declares_json(headers: &HeaderMap) -> bool {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}
