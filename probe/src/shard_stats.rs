//! The application's side: a shard's `/stats`.

use std::time::Duration;

use protocol::shard_urls::ShardUrl;
use serde::Deserialize;

use crate::reconcile::AppReading;

/// How long a shard may take to answer.
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

    /// Reads one shard.
    ///
    /// # Errors
    /// Why there is no reading, in a few words.
    pub async fn read(&self, shard: &ShardUrl) -> Result<AppReading, String> {
        let answer = self.client.get(format!("{shard}/stats")).send().await.map_err(|error| short(&error))?;
        if !answer.status().is_success() {
            return Err(format!("/stats answers {}", answer.status()));
        }
        let body: Body = answer.json().await.map_err(|error| short(&error))?;
        Ok(AppReading {
            requests_received: body.requests_received,
            started_at: body.started_at,
            active_requests: body.active_requests,
        })
    }
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
