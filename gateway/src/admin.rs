//! `POST /admin/cache`, `POST /admin/reset`, `GET /admin/shard-mapping/{key}`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use protocol::limits::TTL_SECONDS;
use protocol::{ErrorKind, ShardId};
use serde_json::{Map, Value, json};
use service::problem::Problem;
use std::sync::Arc;

use crate::app::Core;
use crate::data::key_of;

pub(crate) async fn cache(State(core): State<Arc<Core>>, body: Body) -> Response {
    let change = async { CacheChange::parse(&service::body::read(body).await?) };
    match change.await {
        Ok(change) => {
            let settings = core.shared.cache.change(change.enabled, change.ttl_seconds);
            let answer =
                json!({"cache_enabled": settings.enabled, "cache_ttl_seconds": settings.ttl_seconds});
            Json(answer).into_response()
        }
        Err(problem) => core.refuse(problem.into()),
    }
}

pub(crate) async fn reset(State(core): State<Arc<Core>>) -> Response {
    core.shared.stats.reset();
    core.shared.cache.clear();
    Json(json!({"status": "reset"})).into_response()
}

pub(crate) async fn shard_mapping(State(core): State<Arc<Core>>, uri: Uri) -> Response {
    let mapping = key_of(&uri, "/admin/shard-mapping/").map(|key| {
        let shard: ShardId = core.shared.placement.owner(&key);
        json!({"key": key, "shard_id": shard, "shard_url": core.shared.placement.url(shard)})
    });
    match mapping {
        Ok(mapping) => Json(mapping).into_response(),
        Err(err) => core.refuse(err),
    }
}

/// The body of `POST /admin/cache`: what is missing keeps its value, what is unknown is ignored.
#[derive(Debug, PartialEq)]
struct CacheChange {
    enabled: Option<bool>,
    ttl_seconds: Option<u64>,
}

impl CacheChange {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|err| {
            bad(format!("the body must be an object such as {{\"enabled\":true,\"ttl_seconds\":60}}: {err}"))
        })?;
        let enabled = fields
            .get("enabled")
            .map(|value| value.as_bool().ok_or_else(|| bad("`enabled` must be true or false".into())))
            .transpose()?;
        let ttl_seconds = fields
            .get("ttl_seconds")
            .map(|value| {
                let seconds = value.as_u64().filter(|seconds| TTL_SECONDS.contains(seconds));
                let (least, most) = (TTL_SECONDS.start(), TTL_SECONDS.end());
                seconds.ok_or_else(|| bad(format!("`ttl_seconds` must be an integer from {least} to {most}")))
            })
            .transpose()?;
        Ok(Self { enabled, ttl_seconds })
    }
}

fn bad(detail: String) -> Problem {
    Problem::new(ErrorKind::BadBody, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_and_unknown_ones_are_fine() {
        let parsed = |body: &str| {
            let change = CacheChange::parse(body.as_bytes()).unwrap();
            (change.enabled, change.ttl_seconds)
        };
        assert_eq!(parsed("{}"), (None, None));
        assert_eq!(parsed(r#"{"enabled":false}"#), (Some(false), None));
        assert_eq!(parsed(r#"{"ttl_seconds":86400}"#), (None, Some(86_400)));
        assert_eq!(parsed(r#"{"enabled":true,"ttl_seconds":1,"more":[]}"#), (Some(true), Some(1)));
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        for (body, says) in [
            ("", "must be an object"),
            ("[]", "must be an object"),
            ("null", "must be an object"),
            ("true", "must be an object"),
            ("{", "must be an object"),
            (r#"{"enabled":"true"}"#, "true or false"),
            (r#"{"enabled":1}"#, "true or false"),
            (r#"{"enabled":null}"#, "true or false"),
            (r#"{"ttl_seconds":0}"#, "from 1 to 86400"),
            (r#"{"ttl_seconds":86401}"#, "from 1 to 86400"),
            (r#"{"ttl_seconds":-1}"#, "from 1 to 86400"),
            (r#"{"ttl_seconds":2.0}"#, "an integer"),
            (r#"{"ttl_seconds":1e3}"#, "an integer"),
            (r#"{"ttl_seconds":"60"}"#, "an integer"),
            (r#"{"ttl_seconds":null}"#, "an integer"),
        ] {
            let problem = CacheChange::parse(body.as_bytes()).unwrap_err().body;
            assert!(
                problem.kind == ErrorKind::BadBody && problem.detail.contains(says),
                "{body}: {problem:?}"
            );
        }
    }
}
