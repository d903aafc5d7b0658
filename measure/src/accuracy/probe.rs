//! Runs the real probe as a process and reads its counts.

use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

use super::keys::KeyTable;
use super::server::{Counts, Server};
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
        let mut process = Process::start_program(&self.program, &["run"], &settings);
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

/// The probe's comparison of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    /// Absent where there is no verdict.
    pub(crate) agrees: Option<bool>,
    pub(crate) bound: Option<u64>,
}

/// The probe's counts of one server since it attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Heads `GET /data/{key}`.
    pub(crate) get: u64,
    /// Heads `POST /data`.
    pub(crate) set: u64,
    /// Other heads.
    pub(crate) control: u64,
    /// Payload bytes towards the server.
    pub(crate) received_bytes: u64,
    /// Payload bytes from the server.
    pub(crate) sent_bytes: u64,
    /// IP bytes from the server.
    pub(crate) sent_ip_bytes: u64,
    /// Packets from the server.
    pub(crate) sent_packets: u64,
    /// Segments not parsed, by reason.
    pub(crate) unparsed: BTreeMap<String, u64>,
    /// Requests counted that the server may not have read.
    pub(crate) aborted: u64,
    /// Requests counted that the server never reads.
    pub(crate) never_read: u64,
    /// Segments whose bytes had all been seen.
    pub(crate) repeats: u64,
    /// Connections opened since it attached.
    pub(crate) opened: u64,
    /// Of those, closed since.
    pub(crate) closed: u64,
    /// Of those, open.
    pub(crate) open: u64,
    /// Segments that the server retransmitted.
    pub sent_again: u64,
}

impl Counted {
    /// Data requests.
    pub(crate) const fn data(&self) -> u64 {
        self.get + self.set
    }

    /// How many heads of `truth` are missing; `None` if there are too many of any kind.
    pub(crate) fn missing_from(&self, truth: &Counts) -> Option<u64> {
        let get = truth.get.checked_sub(self.get)?;
        let set = truth.set.checked_sub(self.set)?;
        let control = truth.control.checked_sub(self.control)?;
        Some(get + set + control)
    }

    /// Segments not parsed.
    pub(crate) fn unparsed_segments(&self) -> u64 {
        self.unparsed.values().sum()
    }

    /// The reasons that occurred, in words.
    pub(crate) fn unparsed_words(&self) -> String {
        let words: Vec<String> = self
            .unparsed
            .iter()
            .filter(|(_, number)| **number > 0)
            .map(|(reason, number)| format!("{number} {reason}"))
            .collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }

    fn read(shard: &Value) -> Self {
        let number = |path: &str| shard.pointer(path).and_then(Value::as_u64).unwrap_or_default();
        let unparsed = shard["unparsed"].as_object().into_iter().flatten();
        Self {
            get: number("/requests/get"),
            set: number("/requests/set"),
            control: number("/control_requests"),
            received_bytes: number("/payload_bytes/receive"),
            sent_bytes: number("/payload_bytes/transmit"),
            sent_ip_bytes: number("/ip_bytes/transmit"),
            sent_packets: number("/packets/transmit"),
            unparsed: unparsed.map(|(reason, n)| (reason.clone(), n.as_u64().unwrap_or_default())).collect(),
            aborted: number("/aborted_requests"),
            never_read: number("/never_read_requests"),
            repeats: number("/repeated_requests"),
            opened: number("/connections/opened"),
            closed: number("/connections/closed"),
            open: number("/connections/open"),
            sent_again: number("/connections/retransmitted_segments"),
        }
    }
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
    pub fn counted(&self) -> Result<Vec<Counted>> {
        Ok(self.list("/api/shards")?.iter().map(Counted::read).collect())
    }

    /// The kernel's table of keys for the server of this place in the list.
    pub(crate) fn keys(&self, index: usize) -> Result<KeyTable> {
        let shards = self.list("/api/keys?limit=1000000")?;
        let shard = shards.get(index).context("the probe does not report the server")?;
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let keys = shard["keys"].as_array().into_iter().flatten();
        Ok(KeyTable {
            evictions: number(&shard["evictions"]),
            keys: keys
                .map(|key| {
                    let name = key["key"].as_str().unwrap_or_default().to_owned();
                    (name, (number(&key["requests"]), number(&key["error"])))
                })
                .collect(),
        })
    }

    /// Its resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.process.resident_bytes().unwrap_or_default()
    }

    /// Memory that the kernel holds for its maps, in bytes.
    pub(crate) fn map_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for descriptor in std::fs::read_dir(format!("/proc/{}/fdinfo", self.process.pid()))? {
            // One that has been closed meanwhile is no map.
            let Ok(info) = std::fs::read_to_string(descriptor?.path()) else { continue };
            let value = |name| info.lines().find_map(|line| line.strip_prefix(name));
            if value("map_type:").is_some() {
                bytes +=
                    value("memlock:").and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or_default();
            }
        }
        Ok(bytes)
    }

    /// The probe's own comparison of every server, in order.
    pub(crate) fn compared(&self) -> Result<Vec<Compared>> {
        let of =
            |shard: &Value| Compared { agrees: shard["agrees"].as_bool(), bound: shard["bound"].as_u64() };
        Ok(self.list("/api/compare")?.iter().map(of).collect())
    }

    /// Returns the number of one server's answers that took at least this many milliseconds, by the kernel's histogram.
    pub(crate) fn answers_slower_than(&self, index: usize, milliseconds: f64) -> Result<u64> {
        let shards = self.list("/api/latency")?;
        let buckets = shards.get(index).and_then(|shard| shard["kernel"].as_array());
        let buckets = buckets.context("the probe has no latencies of the server")?.iter();
        // A bucket is its upper bound and its number.
        let slow = buckets.filter(|bucket| bucket[0].as_f64().is_none_or(|upper| upper >= milliseconds));
        Ok(slow.filter_map(|bucket| bucket[1].as_u64()).sum())
    }

    /// Returns the probe's `/status`.
    pub(crate) fn status(&self) -> Result<Value> {
        self.exchange("/status")
    }

    /// Stops it in order.
    pub fn stop(mut self) {
        self.process.signal(Signal::TERM);
        let Self { stage, process, .. } = &mut self;
        stage.runtime.block_on(process.ended(Duration::from_secs(20)));
    }

    fn list(&self, path: &str) -> Result<Vec<Value>> {
        let answer = self.exchange(path)?;
        answer["shards"].as_array().cloned().with_context(|| format!("{path} has no shards"))
    }

    fn exchange(&self, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.base);
        let answer = async { self.stage.client.get(&url).send().await?.json::<Value>().await };
        self.stage.runtime.block_on(answer).with_context(|| format!("no answer to {path}"))
    }
}
