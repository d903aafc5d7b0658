//! Builds error answers: HTTP status, error body and `Retry-After`.

use axum::Json;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use protocol::{ErrorBody, ErrorKind};

/// An error answer to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The error body.
    pub body: ErrorBody,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
}

impl Problem {
    /// Creates an error with one sentence for people.
    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { body: ErrorBody { detail: detail.into(), kind }, retry_after: None }
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl From<ErrorBody> for Problem {
    fn from(body: ErrorBody) -> Self {
        Self { body, retry_after: None }
    }
}

impl From<protocol::KeyError> for Problem {
    fn from(err: protocol::KeyError) -> Self {
        Self::new(ErrorKind::BadKey, err.to_string())
    }
}

impl Problem {
    /// A handler has panicked.
    pub(crate) fn internal() -> Self {
        Self::new(ErrorKind::Internal, "internal server error; see the server's log")
    }

    /// There is no room for an answer.
    pub(crate) fn too_many_answers() -> Self {
        Self::new(ErrorKind::Overloaded, "too many unread responses; try again later").retry_after(1)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = self.body.kind;
        let mut response = (kind.status(), Json(self.body)).into_response();
        // For middleware that reads the kind from the response.
        response.extensions_mut().insert(kind);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The answer for an unknown path, used by `Router::fallback`.
pub async fn no_such_route(uri: Uri) -> Problem {
    Problem::new(ErrorKind::NoSuchRoute, format!("no resource at {}", uri.path()))
}

/// The answer for an unsupported method, used by `Router::method_not_allowed_fallback`.
pub async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(ErrorKind::MethodNotAllowed, format!("{} does not support {method}", uri.path()))
}
