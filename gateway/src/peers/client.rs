//! Calls to other gateways, bounded in time and size.

use axum::http::{HeaderMap, Uri};
use parking_lot::Mutex;
use protocol::ErrorBody;
use protocol::limits::BODY_MAX_BYTES;
use service::names::Names;
use service::overload::Overload;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::timeout;

use crate::http1::connection::{Broken, Connection, Limits};
use crate::http1::connector::Connector;
use crate::http1::head::Endpoint;

/// Timeout of a call, with connection and answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Longest part of an error message that is passed on, in characters.
const SHOWN: usize = 200;

/// A client for all peers.
pub(super) struct PeerClient {
    connector: Connector,
    overload: Overload,
    /// One connection to each peer. Connections to peers that have gone end with them.
    idle: Mutex<HashMap<Uri, Connection>>,
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
        let idle = self.idle.lock().remove(&peer).filter(Connection::is_open);
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
            let mut idle = self.idle.lock();
            idle.retain(|_, connection| connection.is_open());
            idle.insert(endpoint.base, connection);
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
