//! The application's side: `/stats` of the shards and of the gateway.

use std::time::Duration;

use protocol::Key;
use protocol::shard_urls::ShardUrl;
use serde::Deserialize;

use crate::gateway::GatewayReading;
use crate::hot_keys::{AppKeys, HotKey, KeyReading};
use crate::reconcile::AppReading;
use crate::signal::keys;

/// How long one of them may take to answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A client that keeps its connections.
#[derive(Clone, Debug)]
pub struct ShardStats {
    client: reqwest::Client,
}

/// The fields of `/stats` that are compared.
#[derive(Debug, Deserialize)]
struct Body {
    requests_received: u64,
    started_at: f64,
    active_requests: u64,
    #[serde(default)]
    top_keys: Vec<CountedKey>,
    #[serde(default)]
    hot_keys: Vec<HotKey>,
}

#[derive(Debug, Deserialize)]
struct CountedKey {
    key: String,
    count: u64,
}

/// The fields of the gateway's `/stats` that are compared.
#[derive(Debug, Deserialize)]
struct GatewayBody {
    started_at: f64,
    shard_requests_total: Vec<Sent>,
}

#[derive(Debug, Deserialize)]
struct Sent {
    shard_id: usize,
    requests: u64,
}

impl ShardStats {
    /// A client without proxies: shards are near.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        Ok(Self { client })
    }

    /// Reads one shard: its counts and its keys.
    ///
    /// # Errors
    /// Why there is no reading, in a few words.
    pub async fn read(&self, shard: &ShardUrl) -> Result<(AppReading, AppKeys), String> {
        let body: Body = self.get(shard, "/stats").await?.json().await.map_err(|error| short(&error))?;
        let reading = AppReading {
            requests_received: body.requests_received,
            started_at: body.started_at,
            active_requests: body.active_requests,
        };
        let keys = body.top_keys.into_iter().map(|key| (as_in_kernel(key.key), key.count)).collect();
        let hot = body.hot_keys.into_iter().map(|hot| HotKey { key: as_in_kernel(hot.key), ..hot }).collect();
        let top = KeyReading { total: body.requests_received, keys };
        Ok((reading, AppKeys { started_at: body.started_at, top, hot }))
    }

    /// What the gateway at `url` has sent.
    ///
    /// # Errors
    /// Why there is no reading, in a few words.
    pub async fn gateway(&self, url: &ShardUrl) -> Result<GatewayReading, String> {
        let body: GatewayBody = self.get(url, "/stats").await?.json().await.map_err(|error| short(&error))?;
        let sent =
            body.shard_requests_total.into_iter().map(|shard| (shard.shard_id, shard.requests)).collect();
        Ok(GatewayReading { started_at: body.started_at, sent })
    }

    /// A page of text.
    ///
    /// # Errors
    /// Why there is none, in a few words.
    pub async fn text(&self, shard: &ShardUrl, path: &str) -> Result<String, String> {
        self.get(shard, path).await?.text().await.map_err(|error| short(&error))
    }

    async fn get(&self, shard: &ShardUrl, path: &str) -> Result<reqwest::Response, String> {
        let answer = self.client.get(format!("{shard}{path}")).send().await.map_err(|error| short(&error))?;
        if answer.status().is_success() {
            Ok(answer)
        } else {
            Err(format!("{path} answers {}", answer.status()))
        }
    }
}

/// A key under the name it has in the kernel's table: long ones are not kept whole there.
fn as_in_kernel(key: String) -> String {
    Key::new(&key).map_or(key, |key| keys::name_of(&key))
}

fn short(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    if error.is_connect() {
        return "no connection".to_owned();
    }
    if error.is_decode() {
        return "/stats has not the fields it must have".to_owned();
    }
    error.to_string()
}
