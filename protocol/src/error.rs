//! Declares the error body and its stable error kinds.

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// The body of every error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// One sentence for people.
    pub detail: String,
    /// Stable name for programs.
    pub kind: ErrorKind,
}

/// The stable name of an error; each has one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// 400: the key breaks a rule of [`crate::Key`].
    BadKey,
    /// 400: the body is not the required JSON.
    BadBody,
    /// 400: the request target or head cannot be served.
    BadRequest,
    /// 403: a browser page of another origin called an admin path.
    OriginNotAllowed,
    /// 404: a full shard has no value for the key.
    NotFound,
    /// 404: no such path.
    NoSuchRoute,
    /// 405: the path does not support this method.
    MethodNotAllowed,
    /// 409: a run is active.
    AlreadyRunning,
    /// 413: the body is over 64 KiB.
    BodyTooLarge,
    /// 415: a browser page sent a request that is not declared as JSON.
    NotJson,
    /// 500: a fault of this process.
    Internal,
    /// 502: a shard's answer was unreadable or too large.
    BadShardAnswer,
    /// 503: the shard did not answer, or shed the request.
    ShardUnavailable,
    /// 503: the queue of the shard is full.
    Overloaded,
    /// 503: the process is starting or draining.
    NotReady,
    /// 507: the shard is full.
    StoreFull,
}

impl ErrorKind {
    /// The name in an error body.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadKey => "bad_key",
            Self::BadBody => "bad_body",
            Self::BadRequest => "bad_request",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::NotFound => "not_found",
            Self::NoSuchRoute => "no_such_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::AlreadyRunning => "already_running",
            Self::BodyTooLarge => "body_too_large",
            Self::NotJson => "not_json",
            Self::Internal => "internal",
            Self::BadShardAnswer => "bad_shard_answer",
            Self::ShardUnavailable => "shard_unavailable",
            Self::Overloaded => "overloaded",
            Self::NotReady => "not_ready",
            Self::StoreFull => "store_full",
        }
    }

    /// The HTTP status of this kind.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadKey | Self::BadBody | Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::OriginNotAllowed => StatusCode::FORBIDDEN,
            Self::NotFound | Self::NoSuchRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::AlreadyRunning => StatusCode::CONFLICT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadShardAnswer => StatusCode::BAD_GATEWAY,
            Self::ShardUnavailable | Self::Overloaded | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kinds_name_is_what_stands_in_an_error_body() {
        for name in ["bad_key", "no_such_route", "shard_unavailable", "store_full"] {
            let kind: ErrorKind = serde_json::from_value(name.into()).unwrap();
            assert_eq!(kind.name(), name);
        }
    }
}
