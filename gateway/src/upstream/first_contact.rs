//! Keeps a starting gateway from being ready until every shard has answered it once.
//!
//! The first packets of a new pod can be dropped, because the nodes of the shards admit its address a moment later.
//! Until then the gateway takes no traffic, and failures are no evidence against a shard.

use futures_util::future::join_all;
use parking_lot::Mutex;
use service::health::Health;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::check::{Checker, Outcome};
use super::shard_health::ShardHealth;

/// The gateway is ready after this time in any case: it must also start while a shard is down.
const LIMIT: Duration = Duration::from_secs(10);
/// Limit of one check. TCP repeats a dropped SYN after 1 s, 3 s and 7 s, so a new connection is faster.
const CHECK_LIMIT: Duration = Duration::from_secs(1);
/// Pause after a check without an answer.
const PAUSE: Duration = Duration::from_millis(100);
/// Number of checks at the same time.
const CHECKS: usize = 64;
/// Maximum number of shards that a message names.
const NAMED: usize = 8;

/// The topic of this module's problem in `/ready`.
const TOPIC: &str = "shards";

/// Makes `/ready` answer 503 until [`run`] ends.
pub(crate) fn begin(ready: &Health, shards: usize) {
    ready.set_problem(TOPIC, problem(&(0..shards).collect()));
}

/// Checks all shards until each has answered once, or for [`LIMIT`].
pub(crate) async fn run(
    checker: Checker,
    health: Arc<ShardHealth>,
    ready: Health,
    stopping: CancellationToken,
) {
    let waiting: Mutex<BTreeSet<usize>> = Mutex::new((0..checker.shards()).collect());
    let room = Semaphore::new(CHECKS);
    let calls = (0..checker.shards()).map(async |shard| {
        while !is_answered(&checker, &health, &room, shard).await {
            sleep(PAUSE).await;
        }
        let mut waiting = waiting.lock();
        waiting.remove(&shard);
        ready.set_problem(TOPIC, problem(&waiting));
    });
    let ended = stopping.run_until_cancelled(timeout(LIMIT, join_all(calls))).await;
    let left = waiting.into_inner();
    if let (Some(Err(_)), Some(problem)) = (ended, problem(&left)) {
        tracing::warn!("{problem}; the gateway is ready without them, {} s after its start", LIMIT.as_secs());
    }
    left.iter().for_each(|shard| health.reached(*shard));
    ready.set_problem(TOPIC, None);
}

async fn is_answered(checker: &Checker, health: &ShardHealth, room: &Semaphore, shard: usize) -> bool {
    // The semaphore is never closed.
    let Ok(_permit) = room.acquire().await else { return false };
    let outcome = checker.check(shard, CHECK_LIMIT).await;
    if outcome != Outcome::Failed {
        health.reached(shard);
    }
    outcome == Outcome::Answered
}

/// `None` if no shard is left.
fn problem(waiting: &BTreeSet<usize>) -> Option<String> {
    let named: Vec<String> = waiting.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match waiting.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let noun = if waiting.len() == 1 { "shard" } else { "shards" };
    (!named.is_empty()).then(|| format!("no answer yet from {noun} {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::problem;

    #[test]
    fn the_problem_names_the_first_shards() {
        assert_eq!(problem(&[].into()), None);
        assert_eq!(problem(&[3].into()).unwrap(), "no answer yet from shard 3");
        let many = problem(&(0..1_024).collect()).unwrap();
        assert_eq!(many, "no answer yet from shards 0, 1, 2, 3, 4, 5, 6, 7 and 1016 more");
    }
}
