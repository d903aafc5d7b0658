//! Runs the real probe as a process and reads its counts.

use anyhow::{Context, Result};
use protocol::probe_api::{
    Compare, Comparison, KeyTables, Latencies, ProbeStatus, ShardCounts, Shards, StoreAnswer,
};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

use super::keys::KeyTable;
use super::server::Server;
use crate::held::Held;
use lab_tests::process::{Process, Signal, TestProcess as _};

/// Starts probes, and waits for their counts.
pub struct Stage {
    /// Waits and HTTP calls run on it, from the main thread.
    pub(crate) runtime: Runtime,
    program: PathBuf,
    client: reqwest::Client,
}

impl Stage {
    /// For the probe at `program`.
    ///
    /// # Errors
    /// When no runtime can be built.
    pub fn new(program: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, program: program.to_path_buf(), client: lab_tests::lab::client() })
    }

    /// Evaluates `condition` repeatedly until it returns a value.
    ///
    /// # Errors
    /// After `limit`, with its last reason.
    pub fn until<T>(
        &self,
        limit: Duration,
        mut condition: impl FnMut() -> Result<T, String>,
    ) -> Result<T, String> {
        // Not `poll::until`, as a condition may itself wait on this runtime.
        let deadline = Instant::now() + limit;
        loop {
            match condition() {
                Ok(value) => return Ok(value),
                Err(reason) if Instant::now() >= deadline => {
                    return Err(format!("after {limit:?}: {reason}"));
                }
                Err(_) => self.pause(),
            }
        }
    }

    /// Lets a moment pass.
    pub(crate) fn pause(&self) {
        self.runtime.block_on(pause());
    }

    /// Starts a probe that watches `servers`, in this order, and waits until it is ready.
    pub(crate) fn start_probe(&self, servers: &[&Server]) -> Probe<'_> {
        self.start_probe_at(urls(servers))
    }

    /// The same for shards at these addresses (`SHARD_URLS`).
    pub fn start_probe_at(&self, urls: String) -> Probe<'_> {
        self.start(urls, None)
    }

    /// A probe that watches `servers`, with maps and links pinned in `folder`.
    pub(crate) fn start_pinned(&self, servers: &[&Server], folder: &Path) -> Probe<'_> {
        self.start(urls(servers), Some(folder))
    }

    fn start(&self, urls: String, folder: Option<&Path>) -> Probe<'_> {
        let mut settings = vec![("PORT", "0".to_owned()), ("SHARD_URLS", urls)];
        settings.extend(folder.map(|folder| ("PIN", folder.display().to_string())));
        self.follow(Process::start_program(&self.program, &["run"], &settings))
    }

    /// Starts a probe that watches a store, with more settings, and waits until it is ready.
    pub(crate) fn start_watch(&self, urls: &str, settings: &[(&str, String)]) -> Probe<'_> {
        let settings = [&[("PORT", "0".to_owned())], settings].concat();
        self.follow(Process::start_program(&self.program, &["watch", urls], &settings))
    }

    fn follow(&self, mut process: Process) -> Probe<'_> {
        let addr = self.runtime.block_on(process.ready());
        Probe { stage: self, process, base: format!("http://{addr}") }
    }
}

fn urls(servers: &[&Server]) -> String {
    servers.iter().map(|server| server.url()).collect::<Vec<_>>().join(",")
}

/// A running probe; dropping it ends it.
pub struct Probe<'a> {
    stage: &'a Stage,
    process: Process,
    base: String,
}

/// Between two questions. A timer can only be made on a runtime, hence not the sleep itself.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

impl Probe<'_> {
    /// The counters of every server, in order.
    ///
    /// # Errors
    /// When the probe does not answer.
    pub fn counted(&self) -> Result<Vec<ShardCounts>> {
        Ok(self.exchange::<Shards>("/api/shards")?.shards)
    }

    /// The kernel's table of keys for the server of this place in the list.
    pub(crate) fn keys(&self, index: usize) -> Result<KeyTable> {
        let tables: KeyTables = self.exchange("/api/keys?limit=1000000")?;
        let shard = tables.shards.into_iter().nth(index).context("the probe does not report the server")?;
        let keys = shard.keys.into_iter().map(|key| (key.key, (key.requests, key.error)));
        Ok(KeyTable { evictions: shard.evictions, keys: keys.collect() })
    }

    /// The answer about a store.
    pub(crate) fn store(&self) -> Result<StoreAnswer> {
        self.exchange("/api/store")
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes().unwrap_or_default()
    }

    /// Memory that the kernel holds for its maps, in bytes.
    pub(crate) fn map_bytes(&self) -> Result<u64> {
        Ok(Held::by(self.process.pid())?.map_bytes)
    }

    /// The probe's own comparison of every server, in order.
    pub(crate) fn compared(&self) -> Result<Vec<Comparison>> {
        let compare: Compare = self.exchange("/api/compare")?;
        Ok(compare.shards.into_iter().map(|shard| shard.of_shard).collect())
    }

    /// Returns the number of one server's answers that took at least this many milliseconds, by the kernel's histogram.
    pub(crate) fn answers_slower_than(&self, index: usize, milliseconds: f64) -> Result<u64> {
        let latencies: Latencies = self.exchange("/api/latency")?;
        let shard = latencies.shards.get(index).context("the probe has no latencies of the server")?;
        let slow = shard.kernel.iter().filter(|(upper, _)| upper.is_none_or(|upper| upper >= milliseconds));
        Ok(slow.map(|(_, count)| count).sum())
    }

    /// Returns the probe's `/status`.
    pub(crate) fn status(&self) -> Result<ProbeStatus> {
        self.exchange("/status")
    }

    /// Stops it in order.
    pub fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let Self { stage, process, .. } = &mut self;
        stage.runtime.block_on(process.ended(Duration::from_secs(20)));
    }

    fn exchange<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let url = format!("{}{path}", self.base);
        let answer = async { self.stage.client.get(&url).send().await?.json::<T>().await };
        self.stage.runtime.block_on(answer).with_context(|| format!("no answer to {path}"))
    }
}
