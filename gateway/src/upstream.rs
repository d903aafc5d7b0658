//! Calls to the shards: one client a core, a deadline over the whole call, one retry for reads, bounded answers.
//!
//! A read is sent once more when its connection failed before the head of an answer was there, which is what happens to
//! a kept connection that the shard closes at that moment. A write is never sent twice.

use axum::http::header;
use bytes::{Bytes, BytesMut};
use prometheus::IntCounter;
use protocol::limits::ANSWER_MAX_BYTES;
use protocol::{Key, ShardId};
use reqwest::{Client, RequestBuilder, Response};
use std::error::Error as StdError;
use std::io::ErrorKind as IoErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::answer::Answer;
use crate::error::Error;
use crate::flight::Fetched;

/// How long a kept connection may be idle. Shorter than what the shards allow, so that the gateway is the one to close.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Most idle connections kept to one shard, a core.
const IDLE_MAX: usize = 1_024;

/// One core's way to the shards. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Upstream {
    client: Client,
    targets: Arc<[Target]>,
    deadline: Duration,
}

/// A shard as the upstream sees it.
pub(crate) struct Target {
    /// `http://host:port`.
    pub(crate) base: String,
    /// Counts requests that really went out.
    pub(crate) sent: IntCounter,
}

/// Why a call has no answer.
enum Failure {
    /// The connection failed before the head of an answer was there.
    BeforeAnswer(String),
    /// The shard cannot be reached or does not answer.
    Unavailable(String),
    /// What came is no HTTP, broke off, or is too long.
    Unreadable(String),
}

impl Upstream {
    /// A client for one core; connections are made when they are needed, on the runtime that needs them.
    ///
    /// # Errors
    /// When the client cannot be built.
    pub(crate) fn new(
        targets: Arc<[Target]>,
        connect: Duration,
        deadline: Duration,
    ) -> reqwest::Result<Self> {
        let client = Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(connect)
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .build()?;
        Ok(Self { client, targets, deadline })
    }

    /// Reads `key` from `shard`.
    ///
    /// # Errors
    /// See [`Answer::value`]; and 503 when the shard cannot be reached or is late, 502 when its answer is unreadable.
    pub(crate) async fn get(&self, shard: ShardId, key: &Key) -> Fetched {
        let path = key.to_path_segment();
        let request = |target: &Target| self.client.get(format!("{}/data/{path}", target.base));
        self.call(shard, request, true).await?.value(key)
    }

    /// Writes to `shard`; `body` is the client's own, already checked, so the shard sees what the client sent.
    ///
    /// # Errors
    /// See [`Answer::stored`]; and as for [`Upstream::get`]. The outcome is then unknown unless the shard refused.
    pub(crate) async fn set(&self, shard: ShardId, key: &Key, body: Bytes) -> Result<(), Error> {
        let request = |target: &Target| {
            let post = self.client.post(format!("{}/data", target.base));
            post.header(header::CONTENT_TYPE, "application/json").body(body.clone())
        };
        self.call(shard, request, false).await?.stored(key)
    }

    async fn call(
        &self,
        shard: ShardId,
        request: impl Fn(&Target) -> RequestBuilder,
        retry: bool,
    ) -> Result<Answer, Error> {
        let Some(target) = self.targets.get(shard.index()) else {
            return Err(Error::Internal { what: "a key was placed on a shard that does not exist" });
        };
        let exchange = async {
            match exchange(shard, target, request(target)).await {
                Err(Failure::BeforeAnswer(_)) if retry => exchange(shard, target, request(target)).await,
                outcome => outcome,
            }
        };
        let late = |_| Err(Failure::Unavailable(format!("no whole answer within {:?}", self.deadline)));
        tokio::time::timeout(self.deadline, exchange).await.unwrap_or_else(late).map_err(|failure| {
            match failure {
                Failure::BeforeAnswer(cause) | Failure::Unavailable(cause) => {
                    tracing::debug!(%shard, cause, "shard unavailable");
                    Error::ShardUnavailable { shard, cause }
                }
                Failure::Unreadable(reason) => Error::BadShardAnswer { shard, reason },
            }
        })
    }
}

async fn exchange(shard: ShardId, target: &Target, request: RequestBuilder) -> Result<Answer, Failure> {
    let mut sent = Sent { counter: &target.sent, really: true };
    let response = request.send().await.map_err(|err| {
        sent.really = !err.is_connect();
        Failure::of(&err)
    })?;
    drop(sent);
    let status = response.status();
    Ok(Answer { shard, status, body: body(response).await? })
}

async fn body(mut response: Response) -> Result<Bytes, Failure> {
    let too_long = || Failure::Unreadable(format!("it is over {ANSWER_MAX_BYTES} bytes"));
    if response.content_length().is_some_and(|length| length > ANSWER_MAX_BYTES as u64) {
        return Err(too_long());
    }
    let broken = |err: reqwest::Error| Failure::Unreadable(format!("it broke off: {}", root_cause(&err)));
    let first = response.chunk().await.map_err(broken)?.unwrap_or_default();
    let Some(second) = response.chunk().await.map_err(broken)? else {
        return if first.len() > ANSWER_MAX_BYTES { Err(too_long()) } else { Ok(first) };
    };
    let mut whole = BytesMut::from(first);
    let mut next = Some(second);
    while let Some(chunk) = next {
        if whole.len() + chunk.len() > ANSWER_MAX_BYTES {
            return Err(too_long());
        }
        whole.extend_from_slice(&chunk);
        next = response.chunk().await.map_err(broken)?;
    }
    Ok(whole.freeze())
}

/// Counts one request when dropped, also when nobody waits for the answer any more, unless it did not go out.
struct Sent<'a> {
    counter: &'a IntCounter,
    really: bool,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if self.really {
            self.counter.inc();
        }
    }
}

impl Failure {
    fn of(err: &reqwest::Error) -> Self {
        let cause = root_cause(err);
        if err.is_connect() || err.is_timeout() {
            return Self::Unavailable(cause);
        }
        let mut next: Option<&(dyn StdError + 'static)> = Some(err);
        while let Some(source) = next {
            if let Some(http) = source.downcast_ref::<hyper::Error>() {
                if http.is_parse() {
                    return Self::Unreadable(cause);
                }
                if http.is_incomplete_message() || http.is_canceled() || http.is_closed() {
                    return Self::BeforeAnswer(cause);
                }
            }
            if let Some(io) = source.downcast_ref::<std::io::Error>()
                && matches!(
                    io.kind(),
                    IoErrorKind::ConnectionReset | IoErrorKind::ConnectionAborted | IoErrorKind::BrokenPipe
                )
            {
                return Self::BeforeAnswer(cause);
            }
            next = source.source();
        }
        Self::Unavailable(cause)
    }
}

fn root_cause(err: &reqwest::Error) -> String {
    let mut root: &dyn StdError = err;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}
