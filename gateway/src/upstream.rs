//! Calls to the shards, with one client per core.
//!
//! A deadline covers the whole call, and the size of an answer is limited. A read is retried once if its connection
//! failed before the first byte of an answer. That happens when the shard closes a pooled connection at the moment of
//! the request. A retry opens a new connection and is paid from a budget. A write is never retried.

pub(crate) mod answer;
mod call;
pub(crate) mod check;
pub(crate) mod connector;
mod failure;
pub(crate) mod first_contact;
pub(crate) mod in_flight;
#[cfg(test)]
pub(crate) mod model;
mod retries;
pub(crate) mod shard_health;

use axum::http::{Method, Request, header};
use bytes::Bytes;
use hotspot::window::Access;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prometheus::IntCounter;
use protocol::limits::ANSWER_MAX_BYTES;
use protocol::{Key, ShardId};
use service::body::Unread;
use service::overload::Overload;
use service::traces::Traces;
use service::traces::span::{GET_DATA, KeyValue, POST_DATA, SpanRef, request_attributes};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::SemaphorePermit;

use self::answer::{Answer, Fetched};
use self::call::Call;
use self::connector::{BUFFER_MAX_BYTES, Connector, OnSent, Witness};
use self::failure::{Failure, root_cause};
use self::in_flight::InFlight;
use self::retries::RetryBudget;
use self::shard_health::{Change, ShardHealth};
use crate::error::Error;
use crate::key_counts::KeyCounts;

/// Idle timeout of pooled connections. It is shorter than the shards' own timeout, so that the gateway closes first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// One core's client for all shards. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Upstream {
    client: Client<Connector, Full<Bytes>>,
    /// Opens a connection for each request, for retries.
    without_pool: Client<Connector, Full<Bytes>>,
    targets: Arc<[Target]>,
    keys: Arc<KeyCounts>,
    traces: Traces,
    in_flight: Arc<InFlight>,
    health: Arc<ShardHealth>,
    overload: Overload,
    deadline: Duration,
}

/// What the clients of all cores share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) targets: Arc<[Target]>,
    pub(crate) keys: Arc<KeyCounts>,
    pub(crate) traces: Traces,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) health: Arc<ShardHealth>,
    pub(crate) overload: Overload,
    pub(crate) deadline: Duration,
}

/// A shard as the target of calls.
pub(crate) struct Target {
    /// The base URL, `http://host:port`.
    pub(crate) base: String,
    /// Counts requests sent: requests of which the system accepted at least a part for an open connection.
    pub(crate) sent: IntCounter,
    retries: RetryBudget,
}

impl Target {
    pub(crate) fn new(base: String, sent: IntCounter) -> Self {
        Self { base, sent, retries: RetryBudget::default() }
    }
}

impl Upstream {
    /// Creates the client of one core. It opens connections on demand, on the runtime that needs them.
    pub(crate) fn new(shared: Shared, connector: Connector) -> Self {
        let Shared { targets, keys, traces, in_flight, health, overload, deadline } = shared;
        let client = |connector, max_idle| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(max_idle)
                .http1_max_buf_size(BUFFER_MAX_BYTES)
                .build(connector)
        };
        let without_pool = client(connector.clone(), 0);
        let client = client(connector, in_flight.idle_limit());
        Self { client, without_pool, targets, keys, traces, in_flight, health, overload, deadline }
    }

    /// The requests in flight to the shards, from all cores.
    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The deadline of a call, up to the end of the answer.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Reads `key` from `shard`, for the request with the span `parent`.
    ///
    /// # Errors
    /// See [`Answer::value`]. 503 if the shard is unreachable or exceeds the deadline. 502 if its answer is unreadable.
    pub(crate) async fn get(&self, shard: ShardId, key: &Key, parent: &SpanRef) -> Fetched {
        let path = key.to_path_segment();
        let request =
            |target: &Target| Request::get(format!("{}/data/{path}", target.base)).body(Full::default());
        self.call(shard, key, parent, request).await?.value(key)
    }

    /// Writes to `shard`. `body` is the client's own body, already validated, so the shard receives what the client
    /// sent.
    ///
    /// # Errors
    /// See [`Answer::stored`] and [`Upstream::get`]. After an error the outcome is unknown, unless the shard refused
    /// the write.
    pub(crate) async fn set(
        &self,
        shard: ShardId,
        key: &Key,
        parent: &SpanRef,
        body: Bytes,
    ) -> Result<(), Error> {
        let request = |target: &Target| {
            let post = Request::post(format!("{}/data", target.base));
            post.header(header::CONTENT_TYPE, "application/json").body(Full::new(body.clone()))
        };
        self.call(shard, key, parent, request).await?.stored(key)
    }

    async fn call(
        &self,
        shard: ShardId,
        key: &Key,
        parent: &SpanRef,
        request: impl Fn(&Target) -> axum::http::Result<Request<Full<Bytes>>>,
    ) -> Result<Answer, Error> {
        let Some(target) = self.targets.get(shard.index()) else {
            return Err(Error::Internal { what: "a key was placed on a shard that does not exist" });
        };
        let Ok(request) = request(target) else {
            return Err(Error::Internal { what: "a request to a shard cannot be built" });
        };
        let again = (request.method() == Method::GET).then(|| request.clone());
        let call = Call { health: &self.health, retries: &target.retries, shard: shard.index() };
        let exchange = async {
            // A request that waits behind a shard without an answer would only be refused later.
            let room = if self.health.is_open(shard.index()) { None } else { self.room(shard).await? };
            call.admitted()?;
            let _room = room;
            let first = self.traced(shard, target, key, parent, 0, request).await;
            match again {
                Some(again) if call.is_repeated(&first) => {
                    self.traced(shard, target, key, parent, 1, again).await
                }
                _ => first,
            }
        };
        let late = |_| Err(Failure::Unavailable(format!("no complete response within {:?}", self.deadline)));
        let outcome = tokio::time::timeout(self.deadline, exchange).await.unwrap_or_else(late);
        let change = call.ended(&outcome);
        let cause = outcome.as_ref().err().and_then(Failure::cause);
        if let Some(cause) = cause {
            tracing::debug!(%shard, cause, "shard unavailable");
        }
        if let Some(change) = change {
            self.log(shard, change, cause.unwrap_or_default());
        }
        outcome.map_err(|failure| failure.error(shard))
    }

    async fn room(&self, shard: ShardId) -> Result<Option<SemaphorePermit<'_>>, Failure> {
        let room = self.in_flight.enter(shard.index()).await;
        if room.is_some() { Ok(room) } else { Err(Failure::Refused("too many requests wait for it")) }
    }

    /// Logs a change of the breaker.
    fn log(&self, shard: ShardId, change: Change, cause: &str) {
        match change {
            Change::Opened { failures } => {
                let log = || tracing::warn!(%shard, failures, cause, "shard failed; its breaker is open");
                self.traces.within("shard failed", log);
            }
            Change::Closed { open_for, refused } => {
                let log =
                    || tracing::info!(%shard, ?open_for, refused, "shard is back; its breaker is closed");
                self.traces.within("shard back", log);
            }
        }
    }

    /// One attempt with its own span. `resent` is the number of earlier attempts.
    async fn traced(
        &self,
        shard: ShardId,
        target: &Target,
        key: &Key,
        parent: &SpanRef,
        resent: i64,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Answer, Failure> {
        let name = if request.method() == Method::GET { GET_DATA } else { POST_DATA };
        let mut span = self.traces.client(name, parent, self.deadline, &mut request);
        span.describe(|| {
            let again = (resent > 0).then(|| KeyValue::new("http.request.resend_count", resent));
            request_attributes(key, shard).into_iter().chain(again)
        });
        let client = if resent == 0 { &self.client } else { &self.without_pool };
        let outcome = self.exchange(client, shard, target, key, request).await;
        match &outcome {
            Ok(answer) => span.answered(answer.status),
            Err(failure) => span.failed(failure.name()),
        }
        outcome
    }

    async fn exchange(
        &self,
        client: &Client<Connector, Full<Bytes>>,
        shard: ShardId,
        target: &Target,
        key: &Key,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Answer, Failure> {
        let access = if request.method() == Method::GET { Access::Read } else { Access::Write };
        let (keys, key, counter) = (Arc::clone(&self.keys), key.clone(), target.sent.clone());
        let is_counted = AtomicBool::new(false);
        let count: OnSent = Arc::new(move || {
            if !is_counted.swap(true, Ordering::Relaxed) {
                counter.inc();
                keys.sent(&key, shard, access);
            }
        });
        let connection = capture_connection(&mut request);
        let mut response = pin!(client.request(request));
        // The poll that assigns a connection to the request happens before the first write.
        let response = poll_fn(|cx| {
            let polled = response.as_mut().poll(cx);
            if let Some(witness) = witness(&connection) {
                witness.on_sent(&count);
            }
            polled
        });
        let response = response.await.map_err(|err| Failure::of(&err, witness(&connection).as_ref()))?;
        if let Some(witness) = response.extensions().get::<Witness>() {
            witness.settle();
        }
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer { shard, status, retry_after, body: self.body(response.into_body()).await? })
    }

    async fn body(&self, mut body: Incoming) -> Result<Bytes, Failure> {
        self.overload.collect(&mut body, ANSWER_MAX_BYTES).await.map_err(|unread| match unread {
            Unread::NoRoom => Failure::NoRoom,
            Unread::TooLarge => Failure::Unreadable(format!("it is larger than {ANSWER_MAX_BYTES} bytes")),
            Unread::Incomplete(err) => {
                let root = root_cause(&err);
                Failure::in_answer(root, format!("it ended early: {root}"))
            }
        })
    }
}

/// The witness of the connection assigned to a request. `None` before the assignment.
fn witness(connection: &CaptureConnection) -> Option<Witness> {
    let mut extras = axum::http::Extensions::new();
    connection.connection_metadata().as_ref()?.get_extras(&mut extras);
    extras.remove()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    #[tokio::test]
    async fn a_call_that_is_dropped_while_it_connects_was_not_sent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let sent = IntCounter::new("sent_total", "h").unwrap();
        let targets = Arc::new([Target::new(base, sent.clone())]);
        let shared = Shared {
            targets,
            keys: Arc::new(KeyCounts::new(1, true)),
            traces: Traces::default(),
            in_flight: Arc::new(InFlight::new(1, 8, std::num::NonZeroUsize::MIN)),
            health: Arc::new(ShardHealth::new(1)),
            overload: Overload::default(),
            deadline: Duration::from_secs(20),
        };
        let names = service::names::Names::default();
        let upstream = Upstream::new(shared, Connector::new(names, Duration::from_secs(10)));
        let (key, unused_port) = (Key::new("k").unwrap(), SpanRef::default());
        {
            let mut call = pin!(upstream.get(ShardId(0), &key, &unused_port));
            // The runtime had no turn, so the connection cannot exist yet.
            assert!(matches!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
        }
        assert_eq!(sent.get(), 0);
    }
}
