//! `GET /data/{key}` and `POST /data`: the data requests.

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use hotspot::window::Access;
use protocol::body::STORED;
use protocol::json::SetRequest;
use protocol::{ErrorKind, Key, ShardId};
use service::problem::Problem;
use service::traces::span::{GET_DATA, POST_DATA, ServerSpan, asked};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Refusal;
use crate::metrics::Operation;
use crate::request_counts::{Outcome, Request};
use crate::state::Shard;
use crate::store::Value;

/// What every path of a read begins with.
const PREFIX: &str = "/data/";

pub(crate) async fn get(State(shard): State<Arc<Shard>>, request: HttpRequest) -> Response {
    let (head, _) = request.into_parts();
    let (uri, headers) = (head.uri, head.headers);
    if let Some(problem) = absolute_form(&uri) {
        return problem.into_response();
    }
    let mut request = shard.accounts.receive(Operation::Get);
    let mut span = shard.traces.server(GET_DATA, &uri, &headers);
    drop(headers);
    let answered = read(&shard, &mut request, &uri, &mut span).await;
    finish(request, answered, span)
}

pub(crate) async fn set(State(shard): State<Arc<Shard>>, request: HttpRequest) -> Response {
    let (head, body) = request.into_parts();
    if let Some(problem) = absolute_form(&head.uri) {
        return problem.into_response();
    }
    let mut request = shard.accounts.receive(Operation::Set);
    let mut span = shard.traces.server(POST_DATA, &head.uri, &head.headers);
    drop(head);
    let answered = write(&shard, &mut request, body, &mut span).await;
    finish(request, answered, span)
}

/// Data requests are origin-form only, because that is what the kernel's parser recognises: one way to ask, counted alike.
fn absolute_form(uri: &Uri) -> Option<Problem> {
    let detail = "the request target is an absolute URL; ask for its path alone";
    uri.authority().is_some().then(|| Problem::new(ErrorKind::BadRequest, detail))
}

fn finish(request: Request<'_>, answered: Result<Vec<u8>, Refusal>, span: ServerSpan) -> Response {
    let response = match answered {
        Ok(json) => {
            request.end(Outcome::Served);
            const JSON: HeaderValue = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, JSON)], json).into_response()
        }
        Err(refusal) => {
            request.end(refusal.outcome());
            Problem::from(refusal).into_response()
        }
    };
    span.end(&response);
    response
}

async fn read(
    shard: &Shard,
    request: &mut Request<'_>,
    uri: &Uri,
    span: &mut ServerSpan,
) -> Result<Vec<u8>, Refusal> {
    // The route matches nothing that lacks the prefix.
    let key = Key::from_path_segment(uri.path().strip_prefix(PREFIX).unwrap_or_default())?;
    span.describe(|| asked(&key, shard.id));
    let _turn = shard.serve(request, &key, Access::Read).await?;
    // A clock before 1970 is no reason to refuse a read.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match shard.store.read(&key, now) {
        Ok((value, found)) => Ok(get_answer(&key, &value, shard.id, found)),
        Err(full) => Err(Refusal::Absent { full, limits: shard.store.limits() }),
    }
}

async fn write(
    shard: &Shard,
    request: &mut Request<'_>,
    body: Body,
    span: &mut ServerSpan,
) -> Result<Vec<u8>, Refusal> {
    let body = service::body::read(body).await.map_err(Refusal::Body)?;
    let SetRequest { key, value } = SetRequest::parse(&body).map_err(|err| Refusal::Body(err.into()))?;
    span.describe(|| asked(&key, shard.id));
    let _turn = shard.serve(request, &key, Access::Write).await?;
    let mut json = Vec::with_capacity(body.len());
    push_json(&mut json, &value);
    let answer = set_answer(&key, shard.id);
    match shard.store.write(key, Value::Written(json.into())) {
        Ok(()) => Ok(answer),
        Err(full) => Err(Refusal::StoreFull { full, limits: shard.store.limits() }),
    }
}

/// [`protocol::body::ShardGet`] as JSON, written by hand because a stored value is JSON text already.
fn get_answer(key: &Key, value: &Value, shard: ShardId, found: bool) -> Vec<u8> {
    let value_len = match value {
        Value::Auto { .. } => key.as_str().len() + 64,
        Value::Written(json) => json.len(),
    };
    let mut out = Vec::with_capacity(key.as_str().len() + value_len + 80);
    out.extend_from_slice(b"{\"key\":");
    push_json(&mut out, key.as_str());
    out.extend_from_slice(b",\"value\":");
    match value {
        Value::Auto { created_at } => {
            out.extend_from_slice(b"{\"data\":");
            push_json(&mut out, &format_args!("auto-generated-{key}"));
            out.extend_from_slice(b",\"created_at\":");
            push_json(&mut out, created_at);
            out.push(b'}');
        }
        Value::Written(json) => out.extend_from_slice(json),
    }
    out.extend_from_slice(b",\"shard_id\":");
    push_json(&mut out, &shard);
    out.extend_from_slice(if found {
        b",\"found\":true}"
    } else {
        b",\"found\":false,\"auto_created\":true}"
    });
    out
}

/// [`protocol::body::ShardSet`] as JSON.
fn set_answer(key: &Key, shard: ShardId) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.as_str().len() + 64);
    out.extend_from_slice(b"{\"key\":");
    push_json(&mut out, key.as_str());
    out.extend_from_slice(b",\"shard_id\":");
    push_json(&mut out, &shard);
    out.extend_from_slice(b",\"status\":");
    push_json(&mut out, STORED);
    out.push(b'}');
    out
}

fn push_json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing text, numbers and JSON values into memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::body::{ShardGet, ShardSet};
    use serde_json::json;

    #[test]
    fn answers_are_the_bodies_of_the_contract() {
        let key = Key::new("a\"b\\ü\n").unwrap();
        let auto = get_answer(&key, &Value::Auto { created_at: 12 }, ShardId(3), false);
        let auto: ShardGet = serde_json::from_slice(&auto).unwrap();
        let made = json!({"data": "auto-generated-a\"b\\ü\n", "created_at": 12});
        assert_eq!(
            (auto.key, serde_json::Value::Object(auto.value), auto.shard_id, auto.found, auto.auto_created),
            (key.clone(), made, ShardId(3), false, true)
        );
        let written = get_answer(&key, &Value::Written((*b"{\"x\":1}").into()), ShardId(0), true);
        let text = String::from_utf8(written.clone()).unwrap();
        assert!(!text.contains("auto_created"), "{text}");
        let written: ShardGet = serde_json::from_slice(&written).unwrap();
        assert_eq!((written.value["x"].clone(), written.found), (json!(1), true));
        let set: ShardSet = serde_json::from_slice(&set_answer(&key, ShardId(1))).unwrap();
        assert_eq!(set, ShardSet { key, shard_id: ShardId(1), status: "stored".into() });
    }
}
