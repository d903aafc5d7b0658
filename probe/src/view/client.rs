//! A running probe's JSON, as far as it is shown.

use std::time::Duration;

use protocol::probe_api::{Compare, Latencies, Shards, Verdicts};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long an answer may take: a fresh comparison waits for verdicts that are about to stand.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks one probe.
#[derive(Clone, Debug)]
pub struct Client {
    client: reqwest::Client,
    base: String,
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
