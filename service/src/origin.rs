//! Restricts which web pages may call admin endpoints.
//!
//! A browser sends the page's origin in `Origin`. Programs send none and are allowed. Without this check any open web
//! page could switch the cache or start load in a lab on the same machine.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::args::SettingError;

/// Seconds for which a browser may cache the answer to a preflight.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// The origins whose pages may call admin endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<HeaderValue>);

/// Why a page is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its origin is not listed.
    Origin(String),
    /// The request is not declared as JSON. A plain form could have sent it without a preflight.
    NotJson,
}

impl Origins {
    /// Parses `ADMIN_ORIGINS`: `scheme://host[:port]` separated by commas. An empty list allows no page.
    ///
    /// # Errors
    /// Returns an error when an entry is not an origin as browsers send it.
    pub fn parse(list: &str) -> Result<Self, SettingError> {
        if list.is_empty() {
            return Ok(Self::default());
        }
        list.split(',').map(str::trim).map(origin).collect::<Result<_, _>>().map(Self)
    }

    /// Whether no page is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Answers preflights and lets listed pages read the answers. Writes of other pages are answered by `refuse`.
    /// `methods` are the methods that a page may use.
    pub async fn guard(
        &self,
        methods: &'static str,
        request: Request,
        next: Next,
        refuse: impl FnOnce(Refusal) -> Response,
    ) -> Response {
        let mut origins = request.headers().get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next().cloned() else {
            return next.run(request).await;
        };
        let allowed = origins.next().is_none() && self.0.contains(&origin);
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let mut response = if !allowed && writes {
            refuse(Refusal::Origin(String::from_utf8_lossy(origin.as_bytes()).into_owned()))
        } else if request.method() == Method::OPTIONS {
            preflight(methods)
        } else if request.method() == Method::POST && !declares_json(request.headers()) {
            refuse(Refusal::NotJson)
        } else {
            next.run(request).await
        };
        response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
        if allowed {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        response
    }
}

fn preflight(methods: &'static str) -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods)),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type")),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Whether the content type is `application/json`, ignoring parameters such as a charset.
fn declares_json(headers: &HeaderMap) -> bool {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn origin(text: &str) -> Result<HeaderValue, SettingError> {
    let is_origin = text.parse::<Uri>().is_ok_and(|uri| is_http(&uri) && uri.path() == "/")
        && !text.ends_with('/')
        && !text.contains(['?', '#', '@'])
        // Browsers send origins in lower case, and origins are compared byte by byte.
        && !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match HeaderValue::from_str(text) {
        Ok(value) if is_origin => Ok(value),
        _ => {
            let allowed = "origins as browsers send them, such as http://localhost:9010 (lower case, no path), separated by commas";
            Err(SettingError::new("ADMIN_ORIGINS", text, allowed))
        }
    }
}

/// Whether this is an absolute http or https URL.
#[must_use]
pub fn is_http(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
}
