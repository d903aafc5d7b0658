//! Reads and writes keys at their home or at a copy.
//!
//! Each core has one client. It also writes the copies that are out of date.

use bytes::Bytes;
use protocol::json::SetRequest;
use protocol::{Key, ShardId};
use service::tasks::Tasks;
use service::traces::span::SpanRef;
use std::sync::Arc;
use std::time::Instant;

use super::copies::{Copies, Done, Job, Known};
use super::{Replicas, Route};
use crate::error::Error;
use crate::metrics::RoutingMetrics;
use crate::placement::Placement;
use crate::upstream::Upstream;
use crate::upstream::answer::Fetched;

/// Reads and writes keys, replicated or not. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ShardClient {
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) placement: Arc<Placement>,
    pub(crate) upstream: Upstream,
    pub(crate) metrics: RoutingMetrics,
    pub(crate) tasks: Tasks,
}

impl ShardClient {
    /// Reads `key` from one of the shards that hold it, for the request with the span `parent`. If a copy fails, the
    /// home is read. If the home fails, a copy is read.
    ///
    /// # Errors
    /// The error of the home. If the first shard took more than half of the deadline, its error.
    pub(crate) async fn read(&self, key: &Key, home: ShardId, parent: &SpanRef) -> Fetched {
        let began = Instant::now();
        let is_late = || 2 * began.elapsed() > self.upstream.deadline();
        if let Some(route) = self.replicas.choose(key) {
            let (fetched, is_copy) = self.read_copy(key, &route, parent).await;
            if is_copy || (fetched.is_err() && is_late()) {
                return fetched;
            }
            return self.upstream.get(home, key, parent).await;
        }
        let shard = self.placement.for_read(home, self.upstream.in_flight());
        if shard != home {
            self.metrics.forwarded.inc();
        }
        let fetched = self.upstream.get(shard, key, parent).await;
        if matches!(fetched, Err(Error::ShardUnavailable { .. }))
            && !is_late()
            && let Some(route) = self.replicas.instead_of(shard, key)
        {
            let (copy, is_copy) = self.read_copy(key, &route, parent).await;
            return if is_copy { copy } else { fetched };
        }
        fetched
    }

    /// Reads a copy. Also returns whether the answer is the value that was copied.
    async fn read_copy(&self, key: &Key, route: &Route, parent: &SpanRef) -> (Fetched, bool) {
        let fetched = self.upstream.get(route.shard, key, parent).await;
        let is_copy =
            fetched.as_ref().is_ok_and(|found| self.replicas.is_copy(route, found.value.as_bytes()));
        if is_copy {
            self.metrics.copy_served.inc();
        } else if route.copies.lost(&route.synced, route.shard, Instant::now()) {
            self.metrics.copy_lost.inc();
            tracing::info!(%key, shard = %route.shard, "a copy was lost; reads skip it until the next write");
        } else {
            self.metrics.copy_overtaken.inc();
        }
        (fetched, is_copy)
    }

    /// Writes `body`, a validated [`SetRequest`], to the key's home. Copies are unreadable until they hold the value
    /// too.
    ///
    /// # Errors
    /// The error of the home.
    pub(crate) async fn write(
        &self,
        key: &Key,
        home: ShardId,
        parent: &SpanRef,
        body: Bytes,
    ) -> Result<(), Error> {
        let writing = self.replicas.begin_write(key);
        let outcome = self.upstream.set(home, key, parent, body.clone()).await;
        let at_home = outcome.is_ok() && writing.has_copies();
        let value = if at_home { SetRequest::parse(&body).ok() } else { None };
        let known = value.and_then(|set| self.replicas.fingerprint(set.value.get().as_bytes()));
        let known = known.map(|value| Known { body: body.clone(), value });
        if let Some(copies) = writing.end(known) {
            self.synchronise(key, copies);
        }
        outcome
    }

    /// Updates the copies of `key` in the background, unless they are up to date or an update is in progress.
    pub(crate) fn synchronise(&self, key: &Key, copies: Arc<Copies>) {
        let Some(job) = copies.claim(Instant::now()) else { return };
        let (client, key, mut next) = (self.clone(), key.clone(), Some(job));
        drop(self.tasks.spawn("copies of a key", async move {
            while let Some(job) = next {
                let done = client.carry_out(&key, &copies, &job).await;
                copies.conclude(&job, done, Instant::now());
                // A write may have begun and ended meanwhile.
                next = copies.claim(Instant::now());
            }
        }));
    }

    async fn carry_out(&self, key: &Key, copies: &Copies, job: &Job) -> Done {
        let Some(Known { body, value }) = (match &job.known {
            Some(known) => Some(known.clone()),
            None => self.at_home(key, copies.home).await,
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
                let (upstream, key, body, shard) = (self.upstream.clone(), key.clone(), body.clone(), *shard);
                let write = self.tasks.spawn("copy", async move {
                    upstream.set(shard, &key, &SpanRef::default(), body).await.is_ok()
                });
                (shard, write)
            })
            .collect();
        let mut shards = Vec::new();
        for (shard, write) in writes {
            let stored = write.await.unwrap_or(false);
            let counter = if stored { &self.metrics.copy_stored } else { &self.metrics.copy_failed };
            counter.inc();
            shards.push((shard, stored));
        }
        Done::Written(value, shards)
    }

    /// Reads the home's value.
    async fn at_home(&self, key: &Key, home: ShardId) -> Option<Known> {
        let found = self.upstream.get(home, key, &SpanRef::default()).await.ok()?;
        let value = self.replicas.fingerprint(found.value.as_bytes())?;
        let key = serde_json::to_vec(key).ok()?;
        let body = [&b"{\"key\":"[..], &key, b",\"value\":", found.value.as_bytes(), b"}"].concat();
        Some(Known { body: Bytes::from(body), value })
    }
}
