//! Calls to other gateways, bounded in time and size.

use axum::http::{Request, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use protocol::ErrorBody;
use protocol::limits::BODY_MAX_BYTES;
use service::names::Names;
use std::time::Duration;
use tokio::time::timeout;

use crate::upstream::connector::{BUFFER_MAX_BYTES, Connector, Witness};

/// Timeout of a call, with connection and answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Idle timeout of pooled connections. It is longer than the time between two turns of a peer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest part of an error message that is passed on, in characters.
const SHOWN: usize = 200;

/// A client for all peers.
pub(super) struct PeerClient(Client<Connector, Full<Bytes>>);

impl PeerClient {
    pub(super) fn new(names: Names) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(BUFFER_MAX_BYTES)
            .build(Connector::new(names, TIMEOUT));
        Self(client)
    }

    /// Sends a JSON body and returns the body of the answer.
    ///
    /// # Errors
    /// A short reason.
    pub(super) async fn post(&self, uri: Uri, body: Vec<u8>) -> Result<Vec<u8>, String> {
        let late = |_| format!("no answer within {} s", TIMEOUT.as_secs());
        timeout(TIMEOUT, self.whole(uri, body)).await.map_err(late)?
    }

    async fn whole(&self, uri: Uri, body: Vec<u8>) -> Result<Vec<u8>, String> {
        let request = Request::post(uri).header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Full::from(body)).map_err(|err| err.to_string())?;
        let answer = self.0.request(request).await.map_err(|err| {
            if err.is_connect() { "no connection".to_owned() } else { "the connection was lost".to_owned() }
        })?;
        if let Some(witness) = answer.extensions().get::<Witness>() {
            witness.settle();
        }
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_MAX_BYTES).collect().await;
        let body = body.map_err(|err| format!("its answer cannot be read: {err}"))?.to_bytes();
        if status.is_success() {
            return Ok(body.into());
        }
        let detail = serde_json::from_slice::<ErrorBody>(&body).map(|error| error.detail).unwrap_or_default();
        let detail: String = detail.chars().take(SHOWN).collect();
        Err(format!("it answers {} {detail}", status.as_u16()).trim_end().to_owned())
    }
}
