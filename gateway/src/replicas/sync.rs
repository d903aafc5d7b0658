//! What is sent for copies: reads of them, and the writes that bring them up to date.

use bytes::Bytes;
use protocol::{Key, ShardId};
use service::traces::span::SpanRef;
use std::sync::Arc;
use std::time::Instant;

use super::copies::{Copies, Done, Job, Known};
use crate::cache::flight::Fetched;
use crate::state::Core;
use crate::stats::CopyRead;

/// Reads `key` from one of the shards that hold it, for the request whose span is `parent`. When a copy fails, home is
/// asked.
///
/// # Errors
/// Those of home; or of a copy that took most of the time a read may take.
pub(crate) async fn fetch(core: &Core, key: &Key, home: ShardId, parent: &SpanRef) -> Fetched {
    let replicas = &core.shared.replicas;
    let Some(route) = replicas.choose(key) else {
        let shard = core.shared.placement.for_read(home, core.upstream.in_flight());
        if shard != home {
            core.shared.stats.forwarded();
        }
        return core.upstream.get(shard, key, parent).await;
    };
    let began = Instant::now();
    let fetched = core.upstream.get(route.shard, key, parent).await;
    let is_copy = fetched.as_ref().is_ok_and(|found| replicas.is_copy(&route, &found.value));
    if is_copy {
        core.shared.stats.copy_read(CopyRead::Served);
        return fetched;
    }
    if route.copies.lost(&route.synced, route.shard, Instant::now()) {
        core.shared.stats.copy_read(CopyRead::Lost);
        tracing::info!(%key, shard = %route.shard, "a copy did not answer with its value; it is made anew later");
    } else {
        core.shared.stats.copy_read(CopyRead::Overtaken);
    }
    if fetched.is_err() && 2 * began.elapsed() > core.upstream.deadline() {
        return fetched;
    }
    core.upstream.get(home, key, parent).await
}

/// Brings the copies of `key` up to date, if there is anything to do and nobody else does it.
pub(crate) fn synchronise(core: &Arc<Core>, key: &Key, copies: Arc<Copies>) {
    let Some(job) = copies.claim(Instant::now()) else { return };
    let (core, key, mut next) = (Arc::clone(core), key.clone(), Some(job));
    let tasks = core.tasks.clone();
    drop(tasks.spawn("copies of a key", async move {
        while let Some(job) = next {
            let done = carry_out(&core, &key, &copies, &job).await;
            copies.conclude(&job, done, Instant::now());
            // A write may have come between.
            next = copies.claim(Instant::now());
        }
    }));
}

async fn carry_out(core: &Arc<Core>, key: &Key, copies: &Copies, job: &Job) -> Done {
    let Some(Known { body, value }) = (match &job.known {
        Some(known) => Some(known.clone()),
        None => at_home(core, key, copies.home).await,
    }) else {
        return Done::HomeFailed;
    };
    let unchanged = job.synced.as_ref().filter(|synced| synced.value == value);
    if unchanged.is_none() {
        copies.rewrite();
    }
    let has = |shard: ShardId| unchanged.is_some_and(|synced| synced.find(shard).is_some());
    let writes: Vec<_> = job
        .targets
        .iter()
        .filter(|shard| !has(**shard))
        .map(|shard| {
            let (core, key, body, shard) = (Arc::clone(core), key.clone(), body.clone(), *shard);
            let tasks = core.tasks.clone();
            let write = tasks.spawn("copy", async move {
                core.upstream.set(shard, &key, &SpanRef::default(), body).await.is_ok()
            });
            (shard, write)
        })
        .collect();
    let mut shards = Vec::new();
    for (shard, write) in writes {
        let taken = write.await.unwrap_or(false);
        core.shared.stats.copied(taken);
        shards.push((shard, taken));
    }
    Done::Written(value, shards)
}

/// What home holds.
async fn at_home(core: &Core, key: &Key, home: ShardId) -> Option<Known> {
    let found = core.upstream.get(home, key, &SpanRef::default()).await.ok()?;
    let value = core.shared.replicas.fingerprint(found.value.get())?;
    let key = serde_json::to_string(key).ok()?;
    let body = format!("{{\"key\":{key},\"value\":{}}}", found.value.get());
    Some(Known { body: Bytes::from(body), value })
}
