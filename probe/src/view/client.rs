//! Requests JSON from a running probe over HTTP.

use std::time::Duration;

use serde::de::DeserializeOwned;
use service::process::StartError;

/// Timeout of one request. A fresh comparison waits for verdicts that are about to become final.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client of one probe.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    client: reqwest::Client,
    base: String,
}

impl Client {
    /// A client of the probe at `base`, `http://host:port`.
    pub(crate) fn new(base: String) -> Result<Self, StartError> {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.timeout(TIMEOUT).build();
        Ok(Self { client: client.map_err(|error| StartError::Other(error.to_string()))?, base })
    }

    /// Requests the body at `path`. Returns a short reason on failure.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let base = &self.base;
        let failed = |why: &str| format!("no answer from the probe at {base}: {why}");
        let answer = self
            .client
            .get(format!("{base}{path}"))
            .send()
            .await
            .map_err(|error| failed(if error.is_timeout() { "it timed out" } else { "no connection" }))?;
        if !answer.status().is_success() {
            return Err(format!("{base}{path} returned {}", answer.status()));
        }
        answer.json().await.map_err(|_| format!("{base}{path} is not a probe's response"))
    }
}
