//! `GET /data/{key}` and `POST /data`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use protocol::body::STORED;
use protocol::json::SetRequest;
use protocol::{Key, ShardId};
use serde::Serialize;
use serde_json::value::RawValue;
use service::problem::Problem;
use service::traces::span::{CACHE_HIT, COALESCED, GET_DATA, KeyValue, POST_DATA, ServerSpan, asked};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::Lookup;
use crate::cache::flight::{Fetched, Found};
use crate::cache::negative_cache::Known;
use crate::error::Error;
use crate::replicas;
use crate::state::Core;
use crate::stats::Served;

/// The answer to a read; the value is passed through as text.
#[derive(Serialize)]
struct Got<'a> {
    key: &'a Key,
    value: &'a RawValue,
    shard_id: ShardId,
    cache_hit: bool,
    latency_ms: f64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    coalesced: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

/// How a read was answered.
struct Answered {
    served: Served,
    stale: bool,
    fetched: Fetched,
}

impl Answered {
    fn with(served: Served, fetched: Fetched) -> Self {
        Self { served, stale: false, fetched }
    }
}

/// The answer to a write.
#[derive(Serialize)]
struct Set<'a> {
    key: &'a Key,
    shard_id: ShardId,
    status: &'static str,
    latency_ms: f64,
}

pub(crate) async fn get(State(core): State<Arc<Core>>, request: Request) -> Response {
    let began = Instant::now();
    let (head, _) = request.into_parts();
    let mut span = core.shared.traces.server(GET_DATA, &head.uri, &head.headers);
    let response = match key_of(&head.uri, "/data/") {
        Ok(key) => {
            drop(head);
            got(&core, &key, began, &mut span).await
        }
        Err(err) => core.refuse(err),
    };
    span.end(&response);
    response
}

async fn got(core: &Arc<Core>, key: &Key, began: Instant, span: &mut ServerSpan) -> Response {
    let home = core.shared.placement.owner(key);
    let Answered { served, stale, fetched } = read(core, key, home, began, span).await;
    let took = began.elapsed();
    core.shared.stats.read_took(home, took);
    span.describe(|| {
        let shard = fetched.as_ref().map_or(home, |found| found.shard);
        let coalesced = (served == Served::Coalesced).then(|| KeyValue::new(COALESCED, true));
        let hit = KeyValue::new(CACHE_HIT, served == Served::Hit);
        asked(key, shard).into_iter().chain([hit]).chain(coalesced)
    });
    match fetched {
        Ok(found) => json(&Got {
            key,
            value: &found.value,
            shard_id: found.shard,
            cache_hit: served == Served::Hit,
            latency_ms: milliseconds(took),
            coalesced: served == Served::Coalesced,
            stale,
        }),
        Err(err) => core.refuse(err),
    }
}

/// The key in the path as it stood in the request line: what a router decodes can no longer be told apart.
pub(crate) fn key_of(uri: &Uri, prefix: &str) -> Result<Key, Error> {
    let segment = uri.path().strip_prefix(prefix).unwrap_or_default();
    Ok(Key::from_path_segment(segment)?)
}

async fn read(core: &Arc<Core>, key: &Key, home: ShardId, began: Instant, span: &mut ServerSpan) -> Answered {
    let stats = &core.shared.stats;
    match core.shared.cache.look_up(key, began) {
        Lookup::Hit(found, stale) => {
            stats.read(key, home, Served::Hit, began);
            hit(core, found, stale)
        }
        Lookup::Refresh(found, stale, fetch) => {
            stats.read(key, home, Served::Hit, began);
            let (refreshing, key, cause) = (Arc::clone(core), key.clone(), span.at());
            fetch.flight().made_for(cause.clone());
            drop(core.tasks.spawn("cache refresh", async move {
                let ended = fetch.end(replicas::fetch(&refreshing, &key, home, &cause).await);
                refreshing.shared.stats.refreshed(ended);
            }));
            hit(core, found, stale)
        }
        Lookup::Joined(flight) => {
            stats.read(key, home, Served::Coalesced, began);
            let fetched = flight.landed().await;
            span.link(&flight.cause());
            Answered::with(Served::Coalesced, fetched)
        }
        Lookup::Absent(fetch) => match core.shared.negatives.look_up(key) {
            Known::Failed(err) => {
                fetch.end(Err(err.clone()));
                remembered(core, key, home, began, err)
            }
            Known::Nothing(ticket) => {
                stats.read(key, home, Served::Miss, began);
                let flight = fetch.flight();
                let (fetching, key, cause) = (Arc::clone(core), key.clone(), span.at());
                flight.made_for(cause.clone());
                // A task of its own: a client that goes away neither ends it nor makes another read fetch again.
                drop(core.tasks.spawn("cache fetch", async move {
                    let fetched = replicas::fetch(&fetching, &key, home, &cause).await;
                    ticket.end(&key, &fetched);
                    fetch.end(fetched)
                }));
                Answered::with(Served::Miss, flight.landed().await)
            }
        },
        Lookup::Off => match core.shared.negatives.look_up(key) {
            Known::Failed(err) => remembered(core, key, home, began, err),
            Known::Nothing(ticket) => {
                stats.read(key, home, Served::Miss, began);
                let fetched = replicas::fetch(core, key, home, &span.at()).await;
                ticket.end(key, &fetched);
                Answered::with(Served::Miss, fetched)
            }
        },
    }
}

fn remembered(core: &Core, key: &Key, home: ShardId, began: Instant, err: Error) -> Answered {
    core.shared.stats.read(key, home, Served::Coalesced, began);
    core.shared.stats.remembered();
    Answered::with(Served::Coalesced, Err(err))
}

fn hit(core: &Core, found: Found, stale: bool) -> Answered {
    if stale {
        core.shared.stats.stale();
    }
    Answered { served: Served::Hit, stale, fetched: Ok(found) }
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
    let body = service::body::read(body).await?;
    let SetRequest { key, value } = SetRequest::parse(&body).map_err(Problem::from)?;
    let shard = core.shared.placement.owner(&key);
    span.describe(|| asked(&key, shard));
    // When the body is there: it may have been long in coming.
    core.shared.stats.write(&key, shard, Instant::now());
    let (writer, written) = (Arc::clone(core), key.clone());
    let cause = span.at();
    // A task of its own: when the client goes away, the cached copy must still go once the write has ended.
    let writing = core.tasks.spawn("write", async move {
        let shared = &writer.shared;
        let _forget = shared.cache.forget_after(written.clone());
        let writing = shared.replicas.begin_write(&written);
        let outcome = writer.upstream.set(shard, &written, &cause, body.clone()).await;
        shared.negatives.forget(&written);
        let at_home = outcome.is_ok() && writing.has_copies();
        let known = at_home.then(|| shared.replicas.known(&body, value));
        if let Some(copies) = writing.end(known) {
            replicas::synchronise(&writer, &written, copies);
        }
        outcome
    });
    let outcome = writing.await.unwrap_or(Err(Error::Internal { what: "a write broke off" }));
    let took = began.elapsed();
    core.shared.stats.write_took(shard, took);
    outcome?;
    Ok(json(&Set { key: &key, shard_id: shard, status: STORED, latency_ms: milliseconds(took) }))
}

/// To two decimals.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 100_000.0).round() / 100.0
}

fn json(body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => {
            ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
        }
        Err(err) => {
            tracing::error!(%err, "an answer cannot be written as JSON");
            Problem::from(Error::Internal { what: "an answer cannot be written" }).into_response()
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
