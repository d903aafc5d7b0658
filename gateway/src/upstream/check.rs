//! Checks shards by `GET /live`, each time on a new connection.

use axum::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use protocol::limits::ANSWER_MAX_BYTES;
use service::tasks::Tasks;
use std::io::{Error as IoError, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use super::Target;
use super::connector::Connector;
use super::failure::root_cause;
use super::shard_health::ShardHealth;

/// How often the gateway looks for shards that are due for a check.
const PERIOD: Duration = Duration::from_millis(100);

/// Sends checks. They are no data requests, and no breaker counts them.
#[derive(Clone)]
pub(crate) struct Checker {
    client: Client<Connector, Empty<Bytes>>,
    targets: Arc<[Target]>,
}

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer, whatever its status.
    Answered,
    /// The connection was refused, so packets pass and no process listens.
    Refused,
    /// Anything else, such as no answer in time.
    Failed,
}

impl Checker {
    pub(crate) fn new(targets: Arc<[Target]>, connector: Connector) -> Self {
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Self { client, targets }
    }

    /// The number of shards.
    pub(crate) fn shards(&self) -> usize {
        self.targets.len()
    }

    /// Checks a shard. It may take `limit`.
    pub(crate) async fn check(&self, shard: usize, limit: Duration) -> Outcome {
        let request = |target: &Target| Request::get(format!("{}/live", target.base)).body(Empty::new()).ok();
        let Some(request) = self.targets.get(shard).and_then(request) else { return Outcome::Failed };
        let answer = async {
            match self.client.request(request).await {
                Ok(response) => {
                    let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
                    if body.is_ok() { Outcome::Answered } else { Outcome::Failed }
                }
                Err(err) => {
                    let root = root_cause(&err).downcast_ref::<IoError>().map(IoError::kind);
                    if root == Some(ErrorKind::ConnectionRefused) {
                        Outcome::Refused
                    } else {
                        Outcome::Failed
                    }
                }
            }
        };
        tokio::time::timeout(limit, answer).await.unwrap_or(Outcome::Failed)
    }
}

/// Checks the shards whose breaker is open.
///
/// A frozen shard accepts the connection and answers when it continues. So a check waits as long as a request would.
pub(crate) fn start(tasks: &Tasks, checker: Checker, health: Arc<ShardHealth>, deadline: Duration) {
    let spawner = tasks.clone();
    tasks.every("shard checks", PERIOD, move || {
        for shard in health.due_for_check() {
            let (health, checker, stopping) = (Arc::clone(&health), checker.clone(), spawner.stopping());
            drop(spawner.spawn("shard check", async move {
                let outcome = stopping.run_until_cancelled(checker.check(shard, deadline)).await;
                health.checked(shard, outcome == Some(Outcome::Answered));
            }));
        }
    });
}
