//! Reads `/stats` and `/metrics` of shards and gateways over HTTP.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hotspot::judge::Observation;
use hotspot::merge::Summary;
use http_body_util::{BodyExt as _, Empty};
use hyper::Uri;
use protocol::Key;
use protocol::body::{GatewayCounts, HotKeys, ShardRequests, ShardStats};
use protocol::probe_api::{AppLatency, HotKey, Latencies, NODE_VERSION, NodeReport};
use protocol::shard_urls::{ShardUrl, ShardUrls};
use protocol::verdict::Verdict;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use service::clock::unix_seconds;
use service::names::Names;

pub(crate) use self::connection::Ends;
use self::connection::{Allowance, BoundedClient};
use super::app_metrics;
use super::hot_keys::AppKeys;
use super::reconcile::AppReading;
use crate::error::chain::chain;
use crate::signal::key_window::KeyReading;
use crate::signal::keys::name_of;

mod connection;

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Timeout of one request to a node's probe, which reads its shards for it.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum size of an answer: 1 MiB, as in the gateway.
const MAX_BYTES: usize = 1 << 20;

/// The same for an answer of a node's probe, which may have 64 shards.
pub(crate) const NODE_MAX_BYTES: usize = 4 << 20;

/// A client that reuses its connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StatsClient {
    client: BoundedClient,
    names: Names,
    /// The newest `/metrics` reading of each shard.
    newest: Arc<parking_lot::Mutex<HashMap<u32, Newest>>>,
}

/// The latencies in a shard's `/metrics`, or why they could not be read.
type MetricsReading = Result<AppLatency, String>;

/// The newest reading, and when its request began.
type Newest = Arc<tokio::sync::Mutex<Option<(Instant, MetricsReading)>>>;

/// The part of a gateway's `/stats` that is compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatewayReading {
    /// Start time of the process, in Unix seconds. A new value means a new process.
    pub(crate) started_at: f64,
    /// Data requests sent since then.
    pub(crate) sent: Vec<ShardRequests>,
    /// Its verdict on the shards. `None` when it reports none.
    pub(crate) verdict: Option<Verdict<String>>,
}

/// A part of a node's report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// All counts.
    All,
    /// The counts of requests.
    Requests,
}

/// A complete answer.
struct Answer {
    body: Vec<u8>,
    /// The connection that it came by.
    ends: Option<Ends>,
}

/// A gateway's counts by key.
pub(crate) type GatewayKeys = HotKeys<Summary<Key>, Observation<String>>;

impl Default for StatsClient {
    fn default() -> Self {
        Self::new(Names::default())
    }
}

impl StatsClient {
    /// A client without connections.
    fn new(names: Names) -> Self {
        Self { client: connection::client(&names), names, newest: Arc::default() }
    }

    /// A client without connections that has the same names.
    pub(crate) fn renewed(&self) -> Self {
        Self::new(self.names.clone())
    }

    /// The names that it resolves.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Reads one shard's counts and keys. Also returns the connection that was used.
    pub(crate) async fn read(&self, shard: &ShardUrl) -> Result<(AppReading, AppKeys, Option<Ends>), String> {
        let Answer { body, ends } = self.get(shard, "/stats").await?;
        let body: ShardStats = from_json(&body, "/stats")?;
        let reading = AppReading {
            requests_received: body.requests_received,
            started_at: body.started_at,
            active_requests: body.active_requests,
        };
        let keys = body.top_keys.into_iter().map(|top| (name_of(&top.key), top.count));
        let hot = body.hot_keys.into_iter();
        let hot = hot.map(|hot| HotKey { key: name_of(&hot.key), count: hot.count, ratio: hot.ratio });
        let top = KeyReading::listed(body.requests_received, keys);
        Ok((reading, AppKeys { started_at: body.started_at, top, hot: hot.collect() }, ends))
    }

    /// Reads what the gateway at `url` has sent.
    pub(crate) async fn gateway(&self, url: &ShardUrl) -> Result<GatewayReading, String> {
        let mut body: Value = self.json(url, "/stats").await?;
        // Deserialize the verdict separately, so that an unknown form of it does not lose the counts.
        let verdict = Verdict::<String>::deserialize(body["verdict"].take()).ok();
        let counts = GatewayCounts::deserialize(body).map_err(|_| lacks_fields("/stats"))?;
        let verdict = verdict.map(|verdict| verdict.map_key(as_in_kernel));
        Ok(GatewayReading { started_at: counts.started_at, sent: counts.shard_requests_total, verdict })
    }

    /// Reads the counts by key of the gateway at `url`, to merge them with those of other gateways.
    pub(crate) async fn hot_keys(&self, url: &ShardUrl) -> Result<GatewayKeys, String> {
        self.json(url, "/admin/hot-keys").await
    }

    /// Reads the counts of the node's probe at `url`.
    pub(crate) async fn node(&self, url: &ShardUrl, part: Part) -> Result<NodeReport, String> {
        let path = match part {
            Part::All => "/api/node",
            Part::Requests => "/api/node?only=requests",
        };
        let report: NodeReport =
            from_json(&self.get_within(url, path, NODE_TIMEOUT, NODE_MAX_BYTES).await?.body, path)?;
        if report.version != NODE_VERSION {
            let version = report.version;
            return Err(format!("{path} has version {version}; this program reads version {NODE_VERSION}"));
        }
        Ok(report)
    }

    /// Reads `/api/latency` of the probe at `url`.
    pub(crate) async fn latencies(&self, url: &str) -> Result<Latencies, String> {
        let url = ShardUrls::parse(url).ok().and_then(ShardUrls::only).ok_or("not a URL")?;
        from_json(
            &self.get_within(&url, "/api/latency", NODE_TIMEOUT, NODE_MAX_BYTES).await?.body,
            "/api/latency",
        )
    }

    /// Reads a shard's latencies from its `/metrics`. Only one request per shard runs at a time. Calls that wait
    /// meanwhile share the next answer.
    pub(crate) async fn metrics(&self, shard: &ShardUrl) -> MetricsReading {
        let started = Instant::now();
        let newest = Arc::clone(self.newest.lock().entry(shard.id.0).or_default());
        let mut newest = newest.lock().await;
        if let Some((begun, reading)) = &*newest
            && *begun >= started
        {
            return reading.clone();
        }
        let begun = Instant::now();
        let reading = self.read_metrics(shard).await;
        *newest = Some((begun, reading.clone()));
        reading
    }

    async fn read_metrics(&self, shard: &ShardUrl) -> MetricsReading {
        let Answer { body, .. } = self.get(shard, "/metrics").await?;
        let metrics =
            std::str::from_utf8(&body).ok().and_then(|text| app_metrics::parse(unix_seconds(), text));
        metrics.ok_or_else(|| "its /metrics has no shard metrics".to_owned())
    }

    async fn json<T: DeserializeOwned>(&self, url: &ShardUrl, path: &str) -> Result<T, String> {
        from_json(&self.get(url, path).await?.body, path)
    }

    async fn get(&self, shard: &ShardUrl, path: &str) -> Result<Answer, String> {
        self.get_within(shard, path, TIMEOUT, MAX_BYTES).await
    }

    async fn get_within(
        &self,
        shard: &ShardUrl,
        path: &str,
        limit: Duration,
        max: usize,
    ) -> Result<Answer, String> {
        let answer = tokio::time::timeout(limit, self.whole(shard, path, max)).await;
        answer.unwrap_or_else(|_| Err(late(limit)))
    }

    async fn whole(&self, shard: &ShardUrl, path: &str, max: usize) -> Result<Answer, String> {
        let uri = Uri::try_from(format!("{shard}{path}")).map_err(|error| error.to_string())?;
        let request = hyper::Request::get(uri).body(Empty::new()).map_err(|error| error.to_string())?;
        let mut answer =
            self.client.request(request).await.map_err(|error| {
                if error.is_connect() { "no connection".to_owned() } else { chain(&error) }
            })?;
        if !answer.status().is_success() {
            return Err(format!("{path} answers {}", answer.status()));
        }
        if let Some(allowance) = answer.extensions().get::<Allowance>() {
            // The allowance is twice the size, because chunks have headers too.
            allowance.set(2 * max);
        }
        let ends = answer.extensions().get::<Ends>().copied();
        let mut body = Vec::new();
        while let Some(frame) = answer.frame().await {
            let bytes = frame.map_err(|error| chain(&error))?.into_data().unwrap_or_default();
            if body.len() + bytes.len() > max {
                return Err(format!("{path} is larger than {} MiB", max >> 20));
            }
            body.extend_from_slice(&bytes);
        }
        Ok(Answer { body, ends })
    }
}

/// Whether a shard could not be read because it did not answer in time.
pub(crate) fn is_late(problem: &str) -> bool {
    problem == late(TIMEOUT)
}

fn late(limit: Duration) -> String {
    format!("no response within {} s", limit.as_secs())
}

/// The name of a key in the kernel's table, which shortens long keys.
pub(crate) fn as_in_kernel(key: String) -> String {
    Key::new(&key).map_or(key, |key| name_of(&key))
}

fn from_json<T: DeserializeOwned>(body: &[u8], path: &str) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|_| lacks_fields(path))
}

fn lacks_fields(path: &str) -> String {
    format!("{path} lacks required fields")
}

#[cfg(test)]
mod tests;
