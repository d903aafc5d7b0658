//! Handlers of the data requests, `GET /data/{key}` and `POST /data`.

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use hotspot::window::Access;
use protocol::body::{STORED, ShardGet, ShardSet};
use protocol::json::SetRequest;
use protocol::{ErrorKind, Key, ShardId};
use serde::Serialize;
use service::problem::Problem;
use service::traces::span::{GET_DATA, POST_DATA, ServerSpan, request_attributes};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Refusal;
use crate::metrics::Operation;
use crate::request_counts::{Request, RequestOutcome};
use crate::state::Shard;
use crate::store::Value;

/// The prefix of every read's path.
const PREFIX: &str = "/data/";

pub(crate) async fn get(State(shard): State<Arc<Shard>>, request: HttpRequest) -> Response {
    let (head, _) = request.into_parts();
    let (uri, headers) = (head.uri, head.headers);
    if let Some(problem) = absolute_form(&uri) {
        return problem.into_response();
    }
    let mut request = shard.counts.receive(Operation::Get);
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
    let mut request = shard.counts.receive(Operation::Set);
    let mut span = shard.traces.server(POST_DATA, &head.uri, &head.headers);
    drop(head);
    let answered = write(&shard, &mut request, body, &mut span).await;
    finish(request, answered, span)
}

/// The operation of a request with this method and target, by the same rules as the routes. `None`: not a data request.
pub(crate) fn operation(method: &Method, uri: &Uri) -> Option<Operation> {
    let is_key =
        |path: &str| path.strip_prefix(PREFIX).is_some_and(|key| !key.is_empty() && !key.contains('/'));
    match *method {
        _ if uri.authority().is_some() => None,
        Method::GET if is_key(uri.path()) => Some(Operation::Get),
        Method::POST if uri.path() == "/data" => Some(Operation::Set),
        _ => None,
    }
}

/// Refuses absolute URLs as targets. The kernel's parser recognises only the origin form, and both must count the same
/// requests.
fn absolute_form(uri: &Uri) -> Option<Problem> {
    let detail = "the request target is an absolute URL; send only its path";
    uri.authority().is_some().then(|| Problem::new(ErrorKind::BadRequest, detail))
}

fn finish(request: Request<'_>, answered: Result<Vec<u8>, Refusal>, span: ServerSpan) -> Response {
    let response = match answered {
        Ok(json) => {
            request.end(RequestOutcome::Served);
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
    // The route matches only paths with this prefix.
    let key = Key::from_path_segment(uri.path().strip_prefix(PREFIX).unwrap_or_default())?;
    span.describe(|| request_attributes(&key, shard.id));
    let _turn = shard.serve(request, &key, Access::Read).await?;
    // A clock before 1970 must not fail a read.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (value, found) =
        shard.store.read(&key, now).map_err(|full| Refusal::Absent { full, limits: shard.store.limits() })?;
    Ok(match value {
        Value::Written(value) => get_answer(shard.id, &key, &*value, found),
        Value::Auto { created_at } => {
            let value = AutoValue { data: format!("auto-generated-{key}"), created_at };
            get_answer(shard.id, &key, value, found)
        }
    })
}

async fn write(
    shard: &Shard,
    request: &mut Request<'_>,
    body: Body,
    span: &mut ServerSpan,
) -> Result<Vec<u8>, Refusal> {
    let body = shard.overload.read(body).await.map_err(Refusal::Body)?;
    let SetRequest { key, value } = SetRequest::parse(&body).map_err(|err| Refusal::Body(err.into()))?;
    span.describe(|| request_attributes(&key, shard.id));
    let _turn = shard.serve(request, &key, Access::Write).await?;
    let answer = json(&ShardSet { key: &key, shard_id: shard.id, status: STORED.into() });
    let value = Value::Written(value.to_owned().into());
    match shard.store.write(key, value) {
        Ok(()) => Ok(answer),
        Err(full) => Err(Refusal::StoreFull { full, limits: shard.store.limits() }),
    }
}

/// The value created for an absent key.
#[derive(Serialize)]
struct AutoValue {
    data: String,
    created_at: u64,
}

fn get_answer(shard_id: ShardId, key: &Key, value: impl Serialize, found: bool) -> Vec<u8> {
    json(&ShardGet { key, value, shard_id, found, auto_created: !found })
}

fn json(body: &impl Serialize) -> Vec<u8> {
    // Cannot fail: text, numbers and JSON values always serialize.
    serde_json::to_vec(body).unwrap_or_default()
}
