//! Calls to other gateways, bounded in time and size.

use axum::http::{HeaderMap, Uri};
use parking_lot::Mutex;
use protocol::ErrorBody;
use protocol::limits::BODY_MAX_BYTES;
use service::names::Names;
use service::overload::Overload;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::time::timeout;

use crate::http1::connection::{Broken, Connection, Limits};
use crate::http1::connector::Connector;
use crate::http1::head::Endpoint;

/// Timeout of a call, with connection and answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Idle timeout of connections. It is longer than the time between two turns of a peer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest part of an error message that is passed on, in characters.
const SHOWN: usize = 200;

/// A client for all peers.
pub(super) struct PeerClient {
    connector: Connector,
    overload: Overload,
    /// One connection to each peer, and since when it is idle.
    idle: Mutex<HashMap<Uri, (Connection, Instant)>>,
}

impl PeerClient {
    pub(super) fn new(names: Names, overload: Overload) -> Self {
        Self { connector: Connector::new(names, TIMEOUT), overload, idle: Mutex::default() }
    }

    /// Sends a JSON body and returns the body of the answer.
    ///
    /// # Errors
    /// A short reason.
    pub(super) async fn post(&self, peer: Uri, path: &str, body: &[u8]) -> Result<Vec<u8>, String> {
        let late = |_| format!("no answer within {} s", TIMEOUT.as_secs());
        timeout(TIMEOUT, self.whole(peer, path, body)).await.map_err(late)?
    }

    async fn whole(&self, peer: Uri, path: &str, body: &[u8]) -> Result<Vec<u8>, String> {
        let idle = {
            let mut idle = self.idle.lock();
            idle.retain(|_, (connection, since)| connection.is_open() && since.elapsed() < IDLE_TIMEOUT);
            idle.remove(&peer).map(|(connection, _)| connection)
        };
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.connector.connect(&peer).await.map_err(|_| "no connection")?,
        };
        let endpoint = Endpoint::new(peer);
        let head = endpoint.post(path, &HeaderMap::new(), body.len());
        let limits = Limits { overload: &self.overload, max_bytes: BODY_MAX_BYTES };
        let answer =
            connection.exchange(&head, body, limits, || {}).await.map_err(|broken| match broken {
                Broken::BeforeAnswer(_) | Broken::Reset(_) => "the connection was lost".to_owned(),
                Broken::Unreadable(reason) => format!("its answer cannot be read: {reason}"),
                Broken::NoRoom => "no memory is left for its answer".to_owned(),
            })?;
        if answer.keeps_alive {
            self.idle.lock().insert(endpoint.base, (connection, Instant::now()));
        }
        let (status, body) = (answer.status, answer.body);
        if status.is_success() {
            return Ok(body.into());
        }
        let detail = serde_json::from_slice::<ErrorBody>(&body).map(|error| error.detail).unwrap_or_default();
        let detail: String = detail.chars().take(SHOWN).collect();
        Err(format!("it answers {} {detail}", status.as_u16()).trim_end().to_owned())
    }
}
