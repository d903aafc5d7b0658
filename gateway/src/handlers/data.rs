//! Handlers of `GET /data/{key}` and `POST /data`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use protocol::body::{GatewayGet, GatewaySet, STORED};
use protocol::json::SetRequest;
use protocol::{Key, ShardId};
use serde::Serialize;
use service::problem::Problem;
use service::traces::span::{
    CACHE_HIT, COALESCED, GET_DATA, KeyValue, POST_DATA, ServerSpan, SpanRef, request_attributes,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::{Fetch, Read};
use crate::error::Error;
use crate::state::Core;
use crate::upstream::answer::Fetched;

pub(crate) async fn get(State(core): State<Arc<Core>>, request: Request) -> Response {
    let began = Instant::now();
    let (head, _) = request.into_parts();
    let mut span = core.shared.traces.server(GET_DATA, &head.uri, &head.headers);
    let response = match key_of(&head.uri, "/data/") {
        Ok(key) => {
            drop(head);
            read(&core, &key, began, &mut span).await
        }
        Err(err) => core.refuse(err),
    };
    span.end(&response);
    response
}

/// The key in the raw path of the request line. A router's decoded path is ambiguous: `%2F` and `/` look the same.
pub(crate) fn key_of(uri: &Uri, prefix: &str) -> Result<Key, Error> {
    let segment = uri.path().strip_prefix(prefix).unwrap_or_default();
    Ok(Key::from_path_segment(segment)?)
}

async fn read(core: &Arc<Core>, key: &Key, began: Instant, span: &mut ServerSpan) -> Response {
    let shared = &core.shared;
    let home = shared.placement.owner(key);
    let read = shared.cache.read(key, began);
    shared.stats.read(key, home, &read, began);
    let cache_hit = matches!(read, Read::Hit { .. });
    let coalesced = matches!(read, Read::Coalesced(_) | Read::NegativeHit(_));
    let stale = matches!(read, Read::Hit { stale: true, .. });
    let fetched = match read {
        Read::Hit { copy, refresh, .. } => {
            if let Some(fetch) = refresh {
                refresh_copy(core, key, home, fetch, span.at());
            }
            Ok(copy)
        }
        Read::Coalesced(flight) => {
            let fetched = flight.landed().await;
            span.link(&flight.cause());
            fetched
        }
        Read::NegativeHit(err) => Err(err),
        Read::Miss(fetch) => run(core, key, home, fetch, span.at()).await,
    };
    let took = began.elapsed();
    shared.stats.read_took(home, took);
    span.describe(|| {
        let shard = fetched.as_ref().map_or(home, |found| found.shard);
        let coalesced = coalesced.then(|| KeyValue::new(COALESCED, true));
        request_attributes(key, shard)
            .into_iter()
            .chain([KeyValue::new(CACHE_HIT, cache_hit)])
            .chain(coalesced)
    });
    match fetched {
        Ok(found) => json(&GatewayGet {
            key,
            value: &*found.value,
            shard_id: found.shard,
            cache_hit,
            latency_ms: milliseconds(took),
            coalesced,
            stale,
        }),
        Err(err) => core.refuse(err),
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
    Ok(json(&GatewaySet { key: &key, shard_id: shard, status, latency_ms }))
}

/// Milliseconds, rounded to two decimals.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 100_000.0).round() / 100.0
}

fn json(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => {
            ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
        }
        Err(err) => {
            tracing::error!(%err, "a response cannot be encoded as JSON");
            Problem::from(Error::Internal { what: "a response cannot be built" }).into_response()
        }
    }
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
}
