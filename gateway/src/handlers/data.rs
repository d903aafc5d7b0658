//! Handlers of `GET /data/{key}` and `POST /data`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::Response;
use protocol::body::{GatewayGet, GatewaySet, STORED};
use protocol::json::SetRequest;
use protocol::{Key, ShardId};
use service::lean::{JsonBody, PlainRead, ReadAnswer, Reading, Reads};
use service::problem::Problem;
use service::traces::span::{
    CACHE_HIT, COALESCED, GET_DATA, KeyValue, POST_DATA, ServerSpan, SpanRef, request_attributes,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::{Fetch, Read};
use crate::error::Error;
use crate::state::Core;
use crate::upstream::answer::{Fetched, Found, ObjectText};

/// What precedes the key in the path of a read.
pub(crate) const PREFIX: &str = "/data/";

/// Serves reads past the router.
pub(crate) struct LeanReads(pub(crate) Arc<Core>);

impl Reads for LeanReads {
    fn read(&self, request: &PlainRead<'_>) -> Reading {
        let traces = &self.0.shared.traces;
        let span = if traces.is_on() {
            traces.server(GET_DATA, &request.uri(), &request.headers())
        } else {
            ServerSpan::default()
        };
        read(&self.0, request.segment, span)
    }
}

pub(crate) async fn get(State(core): State<Arc<Core>>, request: Request) -> Response {
    let span = core.shared.traces.server(GET_DATA, request.uri(), request.headers());
    let segment = request.uri().path().strip_prefix(PREFIX).unwrap_or_default();
    let answer = match read(&core, segment, span) {
        Reading::Now(answer) => answer,
        Reading::Later(answering) => {
            drop(request);
            answering.await
        }
    };
    answer.map_or_else(|response| *response, |body| json(body.text()))
}

/// The key in the raw path of the request line. A router's decoded path is ambiguous: `%2F` and `/` look the same.
pub(crate) fn key_of(uri: &Uri, prefix: &str) -> Result<Key, Error> {
    let segment = uri.path().strip_prefix(prefix).unwrap_or_default();
    Ok(Key::from_path_segment(segment)?)
}

/// Answers a read of the key in a path segment: at once from the cache, otherwise later.
fn read(core: &Arc<Core>, segment: &str, span: ServerSpan) -> Reading {
    let began = Instant::now();
    let key = match Key::from_path_segment(segment) {
        Ok(key) => key,
        Err(err) => {
            let response = core.refuse(err.into());
            span.end(&response);
            return Reading::Now(Err(Box::new(response)));
        }
    };
    let shared = &core.shared;
    let home = shared.placement.owner(&key);
    let read = shared.cache.read(&key, began);
    shared.stats.read(&key, home, &read, began);
    let cache_hit = matches!(read, Read::Hit { .. });
    let coalesced = matches!(read, Read::Coalesced(_) | Read::NegativeHit(_));
    let stale = matches!(read, Read::Hit { stale: true, .. });
    let mut asked = Asked { key, home, began, cache_hit, coalesced, stale, span };
    match read {
        Read::Hit { copy, refresh, .. } => {
            if let Some(fetch) = refresh {
                refresh_copy(core, &asked.key, home, fetch, asked.span.at());
            }
            Reading::Now(asked.answer(core, Ok(copy)))
        }
        Read::NegativeHit(err) => Reading::Now(asked.answer(core, Err(err))),
        Read::Coalesced(flight) => {
            let core = Arc::clone(core);
            Reading::Later(Box::pin(async move {
                let fetched = flight.landed().await;
                asked.span.link(&flight.cause());
                asked.answer(&core, fetched)
            }))
        }
        Read::Miss(fetch) => {
            let core = Arc::clone(core);
            Reading::Later(Box::pin(async move {
                let fetched = run(&core, &asked.key, home, fetch, asked.span.at()).await;
                asked.answer(&core, fetched)
            }))
        }
    }
}

/// A read, and how it will be answered.
struct Asked {
    key: Key,
    home: ShardId,
    began: Instant,
    cache_hit: bool,
    coalesced: bool,
    stale: bool,
    span: ServerSpan,
}

impl Asked {
    fn answer(self, core: &Core, fetched: Fetched) -> ReadAnswer {
        let Self { key, home, began, cache_hit, coalesced, stale, mut span } = self;
        let took = began.elapsed();
        core.shared.stats.read_took(home, took);
        span.describe(|| {
            let shard = fetched.as_ref().map_or(home, |found| found.shard);
            let coalesced = coalesced.then(|| KeyValue::new(COALESCED, true));
            request_attributes(&key, shard)
                .into_iter()
                .chain([KeyValue::new(CACHE_HIT, cache_hit)])
                .chain(coalesced)
        });
        let body = fetched.and_then(|Found { value, shard: shard_id }| {
            let latency_ms = milliseconds(took);
            encoded(read_body(GatewayGet {
                key: &key,
                value,
                shard_id,
                cache_hit,
                latency_ms,
                coalesced,
                stale,
            }))
        });
        match body {
            Ok(body) => {
                span.succeeded();
                Ok(body)
            }
            Err(err) => {
                let response = core.refuse(err);
                span.end(&response);
                Err(Box::new(response))
            }
        }
    }
}

/// Runs a fetch and waits for its result.
async fn run(core: &Arc<Core>, key: &Key, home: ShardId, fetch: Fetch, cause: SpanRef) -> Fetched {
    let Some(flight) = fetch.flight() else {
        let fetched = core.shards.read(key, home, &cause).await;
        fetch.end(&fetched);
        return fetched;
    };
    flight.set_cause(cause.clone());
    let (fetching, key) = (Arc::clone(core), key.clone());
    // A separate task, so a client's disconnect does not cancel the fetch that other reads wait for.
    drop(core.tasks.spawn("cache fetch", async move {
        fetch.end(&fetching.shards.read(&key, home, &cause).await);
    }));
    flight.landed().await
}

/// Runs a fetch in the background.
fn refresh_copy(core: &Arc<Core>, key: &Key, home: ShardId, fetch: Fetch, cause: SpanRef) {
    if let Some(flight) = fetch.flight() {
        flight.set_cause(cause.clone());
    }
    let (refreshing, key) = (Arc::clone(core), key.clone());
    drop(core.tasks.spawn("cache refresh", async move {
        let end = fetch.end(&refreshing.shards.read(&key, home, &cause).await);
        refreshing.shared.stats.refreshed(end);
    }));
}

pub(crate) async fn set(State(core): State<Arc<Core>>, request: Request) -> Response {
    let began = Instant::now();
    let (head, body) = request.into_parts();
    let mut span = core.shared.traces.server(POST_DATA, &head.uri, &head.headers);
    drop(head);
    let written = write(&core, body, began, &mut span).await;
    let response = written.unwrap_or_else(|err| core.refuse(err));
    span.end(&response);
    response
}

async fn write(
    core: &Arc<Core>,
    body: Body,
    began: Instant,
    span: &mut ServerSpan,
) -> Result<Response, Error> {
    let body = core.shared.overload.read(body).await?;
    let key = SetRequest::parse(&body).map_err(Problem::from)?.key;
    let shard = core.shared.placement.owner(&key);
    span.describe(|| request_attributes(&key, shard));
    // Counted now and not at `began`, because the body may arrive much later than the head.
    core.shared.stats.write(&key, shard, Instant::now());
    let (writer, written, cause) = (Arc::clone(core), key.clone(), span.at());
    // A separate task: after a client's disconnect, the cached copy must still be removed when the write ends.
    let writing = core.tasks.spawn("write", async move {
        let _forget = writer.shared.cache.forget_after(written.clone());
        writer.shards.write(&written, shard, &cause, body).await
    });
    let outcome = writing.await.unwrap_or(Err(Error::Internal { what: "a write was aborted" }));
    let took = began.elapsed();
    core.shared.stats.write_took(shard, took);
    outcome?;
    let (status, latency_ms) = (STORED.into(), milliseconds(took));
    let answer = GatewaySet { key: &key, shard_id: shard, status, latency_ms };
    encoded(serde_json::to_vec(&answer)).map(json)
}

/// Milliseconds, rounded to two decimals.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 100_000.0).round() / 100.0
}

/// Writes the answer to a read around its value, whose text was checked when it came from the shard.
fn read_body(answer: GatewayGet<&Key, ObjectText>) -> serde_json::Result<JsonBody> {
    let key = answer.key.as_str();
    // Enough unless many characters of the key are escaped.
    let mut text = Vec::with_capacity(key.len() + 128);
    text.extend_from_slice(b"{\"key\":");
    serde_json::to_writer(&mut text, key)?;
    text.extend_from_slice(b",\"value\":");
    let at = text.len();
    text.extend_from_slice(b",\"shard_id\":");
    serde_json::to_writer(&mut text, &answer.shard_id)?;
    text.extend_from_slice(if answer.cache_hit { b",\"cache_hit\":true" } else { b",\"cache_hit\":false" });
    text.extend_from_slice(b",\"latency_ms\":");
    serde_json::to_writer(&mut text, &answer.latency_ms)?;
    for (is_set, field) in [(answer.coalesced, ",\"coalesced\":true"), (answer.stale, ",\"stale\":true")] {
        text.extend_from_slice(if is_set { field.as_bytes() } else { b"" });
    }
    text.push(b'}');
    Ok(JsonBody { around: text, at, value: answer.value.into_bytes() })
}

fn encoded<T>(body: serde_json::Result<T>) -> Result<T, Error> {
    body.map_err(|err| {
        tracing::error!(%err, "a response cannot be encoded as JSON");
        Error::Internal { what: "a response cannot be built" }
    })
}

fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_have_two_decimals() {
        assert_eq!(milliseconds(Duration::from_nanos(1_234_567)), 1.23);
        assert_eq!(milliseconds(Duration::from_micros(995)), 1.0);
        assert_eq!(milliseconds(Duration::from_nanos(900)), 0.0);
    }

    #[test]
    fn an_answer_to_a_read_is_what_serde_would_write() {
        for (text, cache_hit, coalesced, stale) in
            [("k", true, false, false), ("k\"\u{1}ä", false, true, true), ("日", false, true, false)]
        {
            let (key, value) = (Key::new(text).unwrap(), "{\"b\":1.50,\"a\":[1, 2]}");
            let (shard_id, latency_ms) = (ShardId(3), milliseconds(Duration::from_nanos(1_234_567)));
            let answer = GatewayGet {
                key: &key,
                value: ObjectText::new(value),
                shard_id,
                cache_hit,
                latency_ms,
                coalesced,
                stale,
            };
            let written = String::from_utf8(read_body(answer).unwrap().text()).unwrap();
            let value = serde_json::from_str::<&serde_json::value::RawValue>(value).unwrap();
            let same = GatewayGet { key: &key, value, shard_id, cache_hit, latency_ms, coalesced, stale };
            assert_eq!(written, serde_json::to_string(&same).unwrap());
        }
    }
}
