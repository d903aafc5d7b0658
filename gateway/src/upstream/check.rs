//! Checks shards whose breaker is open.

use axum::http::Request;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use protocol::limits::ANSWER_MAX_BYTES;
use service::tasks::Tasks;
use std::sync::Arc;
use std::time::Duration;

use super::Target;
use super::connector::Connector;
use super::shard_health::ShardHealth;

/// How often the gateway looks for shards that are due for a check.
const PERIOD: Duration = Duration::from_millis(100);

/// Checks the shards whose breaker is open by `GET /live`, each on a new connection.
///
/// A frozen shard accepts the connection and answers when it continues. So a check waits as long as a request would.
pub(crate) fn start(
    tasks: &Tasks,
    targets: Arc<[Target]>,
    health: Arc<ShardHealth>,
    connector: Connector,
    deadline: Duration,
) {
    let client: Client<Connector, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let spawner = tasks.clone();
    tasks.every("shard checks", PERIOD, move || {
        for shard in health.due_for_check() {
            let Some(target) = targets.get(shard) else { continue };
            let Ok(request) = Request::get(format!("{}/live", target.base)).body(Empty::new()) else {
                continue;
            };
            let (health, response) = (Arc::clone(&health), client.request(request));
            let stopping = spawner.stopping();
            drop(spawner.spawn("shard check", async move {
                let answer = async {
                    let body = response.await.ok()?.into_body();
                    Limited::new(body, ANSWER_MAX_BYTES).collect().await.ok()
                };
                let answer = stopping.run_until_cancelled(tokio::time::timeout(deadline, answer)).await;
                health.checked(shard, matches!(answer, Some(Ok(Some(_)))));
            }));
        }
    });
}
