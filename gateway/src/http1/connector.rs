//! Opens connections.

use axum::http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use service::limits::lacks_descriptor;
use service::names::{Names, Resolver};
use std::error::Error as StdError;
use std::io::Error as IoError;
use std::time::Duration;
use tower::ServiceExt;

use super::connection::Connection;

/// Why a connection could not be opened.
#[derive(Debug)]
pub(crate) struct ConnectError {
    /// The first error of the chain.
    pub(crate) cause: String,
    /// The address refused the connection: packets pass, and no process listens.
    pub(crate) is_refused: bool,
    /// This process has no descriptor left.
    pub(crate) is_no_descriptor: bool,
}

/// Opens connections. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector<Resolver>,
    names: Names,
    timeout: Duration,
}

impl Connector {
    /// `timeout` covers connecting and the name lookup.
    pub(crate) fn new(names: Names, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(names.clone()));
        tcp.set_nodelay(true);
        Self { tcp, names, timeout }
    }

    /// Opens a connection to the host and port of a URL.
    pub(crate) async fn connect(&self, to: &Uri) -> Result<Connection, ConnectError> {
        let connecting = tokio::time::timeout(self.timeout, self.tcp.clone().oneshot(to.clone())).await;
        let err: Box<dyn StdError> = match connecting {
            Ok(Ok(stream)) => return Ok(Connection::new(stream.into_inner())),
            Ok(Err(err)) => Box::new(err),
            Err(late) => Box::new(late),
        };
        if let Some(host) = to.host() {
            self.names.doubt(host);
        }
        let root = root_cause(err.as_ref());
        let io = root.downcast_ref::<IoError>();
        Err(ConnectError {
            cause: root.to_string(),
            is_refused: io.is_some_and(|err| err.kind() == std::io::ErrorKind::ConnectionRefused),
            is_no_descriptor: io.is_some_and(lacks_descriptor),
        })
    }
}

/// The first error of a chain.
fn root_cause<'a>(err: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    let mut root = err;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}
