//! HTTP client for `/stats` and `/metrics` of shards and gateways.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hotspot::judge::Observation;
use hotspot::merge::Summary;
use http_body_util::{BodyExt as _, Empty};
use hyper::Uri;
use protocol::Key;
use protocol::body::{GatewayCounts, HotKeys, ShardRequests, ShardStats};
use protocol::probe_api::{AppLatency, HotKey};
use protocol::shard_urls::ShardUrl;
use protocol::verdict::Verdict;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use service::clock::unix_seconds;

use self::connection::{Allowance, BoundedClient};
use super::app_metrics;
use super::hot_keys::AppKeys;
use super::reconcile::AppReading;
use crate::error::chain::chain;
use crate::signal::key_window::KeyReading;
use crate::signal::keys::name_of;

mod connection;

/// How long one of them may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The longest answer that is read, as at the gateway: 1 MiB.
const MAX_BYTES: usize = 1 << 20;

/// A client that keeps its connections.
#[derive(Clone, Debug)]
pub struct StatsClient {
    client: BoundedClient,
    /// By shard, the newest answer of its `/metrics`.
    newest: Arc<parking_lot::Mutex<HashMap<u32, Newest>>>,
}

/// What a shard's `/metrics` said, or why there is nothing.
type MetricsReading = Result<AppLatency, String>;

/// The newest one, and when it was asked for.
type Newest = Arc<tokio::sync::Mutex<Option<(Instant, MetricsReading)>>>;

/// What a gateway says of itself in `/stats`, as far as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatewayReading {
    /// When the process started, in unix seconds; another process has another.
    pub(crate) started_at: f64,
    /// Data requests it sent since then.
    pub(crate) sent: Vec<ShardRequests>,
    /// Its verdict on the shards; absent where it gives none.
    pub(crate) verdict: Option<Verdict<String>>,
}

/// What a gateway counted by key.
pub(crate) type GatewayKeys = HotKeys<Summary<Key>, Observation<String>>;

impl Default for StatsClient {
    fn default() -> Self {
        Self { client: connection::client(), newest: Arc::default() }
    }
}

impl StatsClient {
    /// Reads one shard: its counts and its keys.
    pub(crate) async fn read(&self, shard: &ShardUrl) -> Result<(AppReading, AppKeys), String> {
        let body: ShardStats = self.json(shard, "/stats").await?;
        let reading = AppReading {
            requests_received: body.requests_received,
            started_at: body.started_at,
            active_requests: body.active_requests,
        };
        let keys = body.top_keys.into_iter().map(|top| (name_of(&top.key), top.count));
        let hot = body.hot_keys.into_iter();
        let hot = hot.map(|hot| HotKey { key: name_of(&hot.key), count: hot.count, ratio: hot.ratio });
        let top = KeyReading::listed(body.requests_received, keys);
        Ok((reading, AppKeys { started_at: body.started_at, top, hot: hot.collect() }))
    }

    /// What the gateway at `url` has sent.
    pub(crate) async fn gateway(&self, url: &ShardUrl) -> Result<GatewayReading, String> {
        let mut body: Value = self.json(url, "/stats").await?;
        // Read apart: a verdict of another form leaves the counts as they are.
        let verdict = Verdict::<String>::deserialize(body["verdict"].take()).ok();
        let counts = GatewayCounts::deserialize(body).map_err(|_| lacks_fields("/stats"))?;
        let verdict = verdict.map(|verdict| verdict.map_key(as_in_kernel));
        Ok(GatewayReading { started_at: counts.started_at, sent: counts.shard_requests_total, verdict })
    }

    /// What the gateway at `url` counted by key, for the merge with others.
    pub(crate) async fn hot_keys(&self, url: &ShardUrl) -> Result<GatewayKeys, String> {
        self.json(url, "/admin/hot-keys").await
    }

    /// A shard's own metrics, with the moment they came. A shard is asked once at a time: all who wait meanwhile share
    /// the next answer.
    pub(crate) async fn metrics(&self, shard: &ShardUrl) -> MetricsReading {
        let asked = Instant::now();
        let newest = Arc::clone(self.newest.lock().entry(shard.id.0).or_default());
        let mut newest = newest.lock().await;
        if let Some((begun, reading)) = &*newest
            && *begun >= asked
        {
            return reading.clone();
        }
        let begun = Instant::now();
        let reading = self.read_metrics(shard).await;
        *newest = Some((begun, reading.clone()));
        reading
    }

    async fn read_metrics(&self, shard: &ShardUrl) -> MetricsReading {
        let body = self.get(shard, "/metrics").await?;
        let metrics =
            std::str::from_utf8(&body).ok().and_then(|text| app_metrics::parse(unix_seconds(), text));
        metrics.ok_or_else(|| "its /metrics are not those of a shard".to_owned())
    }

    async fn json<T: DeserializeOwned>(&self, url: &ShardUrl, path: &str) -> Result<T, String> {
        let body = self.get(url, path).await?;
        serde_json::from_slice(&body).map_err(|_| lacks_fields(path))
    }

    async fn get(&self, shard: &ShardUrl, path: &str) -> Result<Vec<u8>, String> {
        let answer = tokio::time::timeout(TIMEOUT, self.whole(shard, path)).await;
        answer.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
    }

    async fn whole(&self, shard: &ShardUrl, path: &str) -> Result<Vec<u8>, String> {
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
            // Chunks have heads, too.
            allowance.set(2 * MAX_BYTES);
        }
        let mut body = Vec::new();
        while let Some(frame) = answer.frame().await {
            let bytes = frame.map_err(|error| chain(&error))?.into_data().unwrap_or_default();
            if body.len() + bytes.len() > MAX_BYTES {
                return Err(format!("{path} is longer than 1 MiB"));
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }
}

/// A key under the name it has in the kernel's table: long ones are not kept whole there.
pub(crate) fn as_in_kernel(key: String) -> String {
    Key::new(&key).map_or(key, |key| name_of(&key))
}

fn lacks_fields(path: &str) -> String {
    format!("{path} has not the fields it must have")
}

#[cfg(test)]
mod tests;
