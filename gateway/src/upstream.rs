//! Calls to the shards, with one client per core.
//!
//! A deadline covers the whole call, and the size of an answer is limited. A read is retried once if its connection
//! failed before the first byte of an answer. That happens when the shard closes a pooled connection at the moment of
//! the request. A retry opens a new connection and is paid from a budget. A write is never retried.

pub(crate) mod answer;
mod call;
pub(crate) mod check;
mod failure;
pub(crate) mod first_contact;
pub(crate) mod in_flight;
#[cfg(test)]
pub(crate) mod model;
pub(crate) mod pool;
mod retries;
pub(crate) mod shard_health;

use axum::http::Uri;
use bytes::Bytes;
use hotspot::window::Access;
use prometheus::IntCounter;
use protocol::limits::ANSWER_MAX_BYTES;
use protocol::{Key, ShardId};
use service::overload::Overload;
use service::traces::Traces;
use service::traces::span::{GET_DATA, KeyValue, POST_DATA, SpanRef, request_attributes};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::SemaphorePermit;

use self::answer::{Answer, Fetched};
use self::call::Call;
use self::failure::Failure;
use self::in_flight::InFlight;
use self::pool::Pool;
use self::retries::RetryBudget;
use self::shard_health::{Change, ShardHealth};
use crate::error::Error;
use crate::http1::connection::Limits;
use crate::http1::connector::Connector;
use crate::http1::head::Endpoint;
use crate::key_counts::KeyCounts;

/// Path of the keys.
const DATA: &str = "/data";

/// One core's client for all shards. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Upstream {
    pool: Arc<Pool>,
    connector: Connector,
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
    pub(crate) endpoint: Endpoint,
    /// Counts requests sent: requests of which the system accepted at least a part for an open connection.
    pub(crate) sent: IntCounter,
    retries: RetryBudget,
}

impl Target {
    pub(crate) fn new(base: Uri, sent: IntCounter) -> Self {
        Self { endpoint: Endpoint::new(base), sent, retries: RetryBudget::default() }
    }
}

impl Upstream {
    /// Creates the client of one core. It opens connections on demand, on the runtime that needs them.
    pub(crate) fn new(shared: Shared, connector: Connector) -> Self {
        let Shared { targets, keys, traces, in_flight, health, overload, deadline } = shared;
        let pool = Arc::new(Pool::new(targets.len(), in_flight.idle_limit()));
        Self { pool, connector, targets, keys, traces, in_flight, health, overload, deadline }
    }

    /// The idle connections of this core.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
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
        let request = Request::Read { path: key.to_path_segment() };
        self.call(shard, key, parent, &request).await?.value(key)
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
        self.call(shard, key, parent, &Request::Write { body }).await?.stored(key)
    }

    async fn call(
        &self,
        shard: ShardId,
        key: &Key,
        parent: &SpanRef,
        request: &Request,
    ) -> Result<Answer, Error> {
        let Some(target) = self.targets.get(shard.index()) else {
            return Err(Error::Internal { what: "a key was placed on a shard that does not exist" });
        };
        let call = Call { health: &self.health, retries: &target.retries, shard: shard.index() };
        let exchange = async {
            // A request that waits behind a shard without an answer would only be refused later.
            let room = if self.health.is_open(shard.index()) { None } else { self.room(shard).await? };
            call.admitted()?;
            let _room = room;
            let first = self.attempt(shard, target, key, parent, 0, request).await;
            if matches!(request, Request::Read { .. }) && call.is_repeated(&first) {
                return self.attempt(shard, target, key, parent, 1, request).await;
            }
            first
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
    async fn attempt(
        &self,
        shard: ShardId,
        target: &Target,
        key: &Key,
        parent: &SpanRef,
        resent: i64,
        request: &Request,
    ) -> Result<Answer, Failure> {
        let (name, access) = request.name_and_access();
        let url = || request.url(&target.endpoint);
        let (mut span, headers) = self.traces.client(name, parent, self.deadline, url);
        span.describe(|| {
            let again = (resent > 0).then(|| KeyValue::new("http.request.resend_count", resent));
            request_attributes(key, shard).into_iter().chain(again)
        });
        let (head, body) = match request {
            Request::Read { path } => (target.endpoint.get(&[DATA, "/", path], &headers), &[][..]),
            Request::Write { body } => (target.endpoint.post(DATA, &headers, body.len()), &body[..]),
        };
        let outcome = async {
            // A retry opens a new connection.
            let mut pooled = if resent == 0 { self.pool.take(shard.index()) } else { None };
            let limits = Limits { overload: &self.overload, max_bytes: ANSWER_MAX_BYTES };
            loop {
                let is_pooled = pooled.is_some();
                let mut connection = match pooled.take() {
                    Some(connection) => connection,
                    None => self.connector.connect(&target.endpoint.base).await?,
                };
                let answered = connection.exchange(&head, body, limits, || {
                    target.sent.inc();
                    self.keys.sent(key, shard, access);
                });
                let answer = match answered.await {
                    Err(_) if is_pooled && connection.has_sent_nothing() => {
                        // The shard had closed the connection. Nothing was sent, so this is no retry.
                        pooled = self.pool.take(shard.index());
                        continue;
                    }
                    answered => answered?,
                };
                if answer.keeps_alive {
                    self.pool.put(shard.index(), connection);
                }
                let (status, retry_after, body) = (answer.status, answer.retry_after, answer.body);
                return Ok(Answer { shard, status, retry_after, body });
            }
        };
        let outcome: Result<Answer, Failure> = outcome.await;
        match &outcome {
            Ok(answer) => span.answered(answer.status),
            Err(failure) => span.failed(failure.name()),
        }
        outcome
    }
}

/// A request to a shard.
enum Request {
    /// `path` is the key's path segment.
    Read {
        path: String,
    },
    Write {
        body: Bytes,
    },
}

impl Request {
    /// The span's name, and how the request is counted.
    fn name_and_access(&self) -> (&'static str, Access) {
        match self {
            Self::Read { .. } => (GET_DATA, Access::Read),
            Self::Write { .. } => (POST_DATA, Access::Write),
        }
    }

    fn url(&self, endpoint: &Endpoint) -> String {
        let path = match self {
            Self::Read { path } => format!("/{path}"),
            Self::Write { .. } => String::new(),
        };
        format!("{}{DATA}{path}", endpoint.base.to_string().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[tokio::test]
    async fn a_call_that_is_dropped_while_it_connects_was_not_sent() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let sent = IntCounter::new("sent_total", "h").unwrap();
        let targets = Arc::new([Target::new(base, sent.clone())]);
        let shared = Shared {
            targets,
            keys: Arc::new(crate::key_counts::tests::counts(1, true)),
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
