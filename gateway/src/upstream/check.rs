//! Checks shards by `GET /live`, each time on a new connection.

use axum::http::HeaderMap;
use protocol::limits::ANSWER_MAX_BYTES;
use service::overload::Overload;
use service::tasks::Tasks;
use std::sync::Arc;
use std::time::Duration;

use super::Target;
use super::shard_health::ShardHealth;
use crate::http1::connection::Limits;
use crate::http1::connector::Connector;

/// How often the gateway looks for shards that are due for a check.
const PERIOD: Duration = Duration::from_millis(100);

/// Sends checks. They are no data requests, and no breaker counts them.
#[derive(Clone)]
pub(crate) struct Checker {
    connector: Connector,
    targets: Arc<[Target]>,
    overload: Overload,
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
    pub(crate) fn new(targets: Arc<[Target]>, connector: Connector, overload: Overload) -> Self {
        Self { connector, targets, overload }
    }

    /// The number of shards.
    pub(crate) fn shards(&self) -> usize {
        self.targets.len()
    }

    /// Checks a shard. It may take `limit`.
    pub(crate) async fn check(&self, shard: usize, limit: Duration) -> Outcome {
        let Some(Target { endpoint, .. }) = self.targets.get(shard) else { return Outcome::Failed };
        let answer = async {
            let mut connection = match self.connector.connect(&endpoint.base).await {
                Ok(connection) => connection,
                Err(err) => return if err.is_refused { Outcome::Refused } else { Outcome::Failed },
            };
            let request = endpoint.get(&["/live"], &HeaderMap::new());
            let limits = Limits { overload: &self.overload, max_bytes: ANSWER_MAX_BYTES };
            match connection.exchange(&request, &[], limits, || {}).await {
                Ok(_) => Outcome::Answered,
                Err(_) => Outcome::Failed,
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
