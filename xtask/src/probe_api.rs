//! The probe's answers, as far as xtask reads them.

use anyhow::Result;
use lab::http::Client;
use lab::ports::url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The probe that listens on a port of this machine.
#[derive(Debug, Clone)]
pub(crate) struct ProbeApi {
    client: Client,
    url: String,
}

/// The rows of an answer, one a shard.
#[derive(Debug, Deserialize)]
struct Rows<T> {
    shards: Vec<T>,
}

/// One shard of `/api/compare`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compared {
    pub(crate) shard_id: u32,
    pub(crate) agrees: Option<bool>,
    pub(crate) cause: Option<String>,
    pub(crate) difference: Option<i64>,
    /// The figures behind it, kept for the demo's JSON.
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// One shard of `/api/shards`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct KernelShard {
    pub(crate) shard_id: u32,
    requests: Operations,
    pub(crate) payload_bytes: Directions,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Operations {
    get: u64,
    set: u64,
}

/// Bytes by direction.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Directions {
    pub(crate) receive: u64,
    pub(crate) transmit: u64,
}

impl KernelShard {
    /// Data requests whose head reached the shard's socket.
    pub(crate) const fn requests(&self) -> u64 {
        self.requests.get + self.requests.set
    }
}

/// One shard of `/api/keys`.
#[derive(Debug, Deserialize)]
struct ShardKeys {
    keys: Vec<KeyReads>,
}

/// A key and its reads.
#[derive(Debug, Deserialize)]
pub(crate) struct KeyReads {
    pub(crate) key: String,
    pub(crate) requests: u64,
}

/// One shard of `/status`.
#[derive(Debug, Deserialize)]
pub(crate) struct Watched {
    pub(crate) addresses: Vec<String>,
}

impl ProbeApi {
    pub(crate) fn new(client: Client, port: u16) -> Self {
        Self { client, url: url(port) }
    }

    fn rows<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        Ok(self.client.get::<Rows<T>>(&format!("{}{path}", self.url))?.shards)
    }

    /// The running comparison.
    ///
    /// # Errors
    /// When the probe does not answer; so for the others.
    pub(crate) fn compare(&self) -> Result<Vec<Compared>> {
        self.rows("/api/compare")
    }

    /// All shards as the kernel counts them.
    pub(crate) fn shards(&self) -> Result<Vec<KernelShard>> {
        self.rows("/api/shards")
    }

    /// The kernel's reads by key, at most `limit` keys a shard.
    pub(crate) fn keys(&self, limit: u32) -> Result<Vec<KeyReads>> {
        let shards: Vec<ShardKeys> = self.rows(&format!("/api/keys?limit={limit}"))?;
        Ok(shards.into_iter().flat_map(|shard| shard.keys).collect())
    }

    /// Where the probe watches each shard.
    pub(crate) fn watched(&self) -> Result<Vec<Watched>> {
        self.rows("/status")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Compared, KernelShard, Rows};

    #[test]
    fn the_documented_answers_are_read() {
        let answer = json!({"taken_at": 1.0, "shards": [
            {"shard_id": 2, "address": "127.0.0.1:9002", "requests": {"get": 5, "set": 2}, "control_requests": 9,
             "payload_bytes": {"receive": 10, "transmit": 20}, "ip_bytes": {"receive": 0, "transmit": 0},
             "packets": {"receive": 0, "transmit": 0}, "unparsed": {}, "repeated_requests": 0}]});
        let rows: Rows<KernelShard> = serde_json::from_value(answer).expect("the documented shape");
        assert_eq!((rows.shards[0].shard_id, rows.shards[0].requests()), (2, 7));
    }

    #[test]
    fn an_undecided_comparison_is_read_as_such() {
        let answer = json!({"taken_at": 1.0, "hot_keys": {}, "shards": [
            {"shard_id": 0, "kernel": 1, "app": 1, "difference": 0, "bound": 0, "agrees": null, "cause": "no baseline",
             "since": 1.0}]});
        let rows: Rows<Compared> = serde_json::from_value(answer).expect("the documented shape");
        assert_eq!((rows.shards[0].agrees, rows.shards[0].difference), (None, Some(0)));
    }
}
