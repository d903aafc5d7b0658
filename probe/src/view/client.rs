//! A running probe's JSON, as far as it is shown.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::compare::app_metrics::Bucket;

/// How long an answer may take: a fresh comparison waits for verdicts that are about to stand.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks one probe.
#[derive(Clone, Debug)]
pub struct Client {
    client: reqwest::Client,
    base: String,
}

/// `/api/compare`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Compare {
    /// Unix seconds.
    pub taken_at: f64,
    /// In order of id.
    pub shards: Vec<ComparedShard>,
    /// How far the hot keys are the same.
    #[serde(default)]
    pub hot_keys: ComparedKeys,
}

/// The hot keys of `/api/compare`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ComparedKeys {
    /// In order of id.
    #[serde(default)]
    pub shards: Vec<ShardKeys>,
}

/// One shard's hot keys.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct ShardKeys {
    /// Its position in `SHARD_URLS`.
    pub shard_id: u32,
    /// Absent where neither witness has any.
    pub overlap_ratio: Option<f64>,
}

/// One shard of `/api/compare`; see [`Comparison`](crate::compare::reconcile::Comparison).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "they are those of `Comparison`")]
pub struct ComparedShard {
    pub shard_id: u32,
    pub kernel: Option<u64>,
    pub app: Option<u64>,
    pub difference: Option<i64>,
    pub bound: Option<u64>,
    pub agrees: Option<bool>,
    pub cause: Option<String>,
    #[serde(default)]
    pub bypassed: Option<u64>,
}

/// `/api/shards`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Shards {
    /// Unix seconds.
    pub taken_at: f64,
    /// In order of id.
    pub shards: Vec<CountedShard>,
}

/// One shard of `/api/shards`, counted since the probe attached.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct CountedShard {
    /// Its position in `SHARD_URLS`.
    pub shard_id: u32,
    /// `host:port`.
    pub address: String,
    /// Data requests.
    pub requests: ByOperation,
    /// TCP payload.
    pub payload_bytes: ByDirection,
    /// Absent where the probe does not see them.
    #[serde(default)]
    pub connections: Option<Connections>,
    /// Absent where the probe does not count keys.
    #[serde(default)]
    pub top_keys: Option<Vec<TopKey>>,
}

/// Data requests by operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ByOperation {
    pub get: u64,
    pub set: u64,
}

/// Bytes by direction, as the shard's socket sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ByDirection {
    pub receive: u64,
    pub transmit: u64,
}

/// A shard's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Connections {
    /// Open now, of those opened while the probe watched.
    pub open: u64,
    /// Segments sent again.
    pub retransmitted_segments: u64,
    /// Those older than the probe.
    #[serde(default)]
    pub older: Older,
}

/// Connections older than the probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
pub struct Older {
    /// Open now, as far as they are known.
    pub open: u64,
}

/// A key and its requests, as the kernel counts them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct TopKey {
    /// The key.
    pub key: String,
    /// Its requests since the probe attached.
    pub requests: u64,
}

/// `/api/latency`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Latencies {
    /// In order of id.
    pub shards: Vec<TimedShard>,
}

/// One shard's latencies, as both witnesses have them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct TimedShard {
    /// Its position in `SHARD_URLS`.
    pub shard_id: u32,
    /// Since the probe attached.
    pub kernel: Vec<Bucket>,
    /// Since the shard's start; absent where it cannot be read.
    pub app: Option<AppLatency>,
}

/// What a shard says of its requests.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct AppLatency {
    /// Unix seconds at which it was read.
    pub taken_at: f64,
    /// Data requests received.
    pub requests: u64,
    /// Their durations.
    pub latency: Vec<Bucket>,
}

/// `/api/verdict`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Verdicts {
    /// From kernel counts alone.
    pub kernel: Option<Sentence>,
    /// The gateway's own.
    pub gateway: Option<Sentence>,
    /// Whether they are the same.
    pub agree: Option<bool>,
    /// Why not, or why there is a difference all the same.
    pub cause: Option<String>,
}

/// A verdict in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Sentence {
    /// All of it.
    pub sentence: String,
}

impl Client {
    /// For the probe at `base`, `http://host:port`.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn new(base: String) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        Ok(Self { client, base })
    }

    /// A fresh comparison, as it came and as it is read.
    ///
    /// # Errors
    /// Why there is none, in a few words.
    pub async fn compare(&self) -> Result<(Value, Compare), String> {
        let body: Value = self.get("/api/compare").await?;
        let compare = Compare::deserialize(&body).map_err(|error| format!("/api/compare: {error}"))?;
        Ok((body, compare))
    }

    /// The kernel's counters.
    ///
    /// # Errors
    /// Why there are none, in a few words.
    pub async fn shards(&self) -> Result<Shards, String> {
        self.get("/api/shards").await
    }

    /// Both witnesses' latencies.
    ///
    /// # Errors
    /// Why there are none, in a few words.
    pub async fn latency(&self) -> Result<Latencies, String> {
        self.get("/api/latency").await
    }

    /// Both verdicts on all shards.
    ///
    /// # Errors
    /// Why there are none, in a few words.
    pub async fn verdicts(&self) -> Result<Verdicts, String> {
        self.get("/api/verdict").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let base = &self.base;
        let failed = |why: &str| format!("no answer from the probe at {base}: {why}");
        let answer =
            self.client.get(format!("{base}{path}")).send().await.map_err(|error| {
                failed(if error.is_timeout() { "it is too slow" } else { "no connection" })
            })?;
        if !answer.status().is_success() {
            return Err(format!("{base}{path} answers {}", answer.status()));
        }
        answer.json().await.map_err(|_| format!("{base}{path} is not what a probe answers"))
    }
}
