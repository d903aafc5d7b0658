//! HTTP client for the lab on this machine.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::Agent;

/// A client with a short timeout, because all servers are on this machine.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
}

impl Default for Client {
    fn default() -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(5)))
            // A proxy of the user cannot reach the lab.
            .proxy(None)
            .build();
        Self { agent: Agent::new_with_config(config) }
    }
}

impl Client {
    /// Whether a request to `url` succeeds.
    #[must_use]
    pub fn is_ok(&self, url: &str) -> bool {
        self.agent.get(url).call().is_ok()
    }

    /// Requests `url` and parses the JSON answer.
    ///
    /// # Errors
    /// When the request fails or times out, or the answer is not the expected JSON.
    pub fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T> {
        let mut answer = self.agent.get(url).call().with_context(|| format!("GET {url} failed"))?;
        answer.body_mut().read_json().with_context(|| format!("GET {url} returned unexpected JSON"))
    }

    /// Requests `url` and returns the answer as text.
    ///
    /// # Errors
    /// When the request fails or times out, or the answer is not UTF-8.
    pub fn text(&self, url: &str) -> Result<String> {
        let mut answer = self.agent.get(url).call().with_context(|| format!("GET {url} failed"))?;
        answer.body_mut().read_to_string().with_context(|| format!("GET {url} returned no text"))
    }

    /// Posts `body` as JSON to `url`.
    ///
    /// # Errors
    /// When the request fails or times out.
    pub fn post(&self, url: &str, body: &impl Serialize) -> Result<()> {
        self.agent.post(url).send_json(body).with_context(|| format!("POST {url} failed"))?;
        Ok(())
    }
}
