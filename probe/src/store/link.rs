//! Holds the connection to one node, and counts what was sent to it.

use std::net::SocketAddr;

use service::names::Names;
use store::client::{Client, Sent};
use store::credentials::Credentials;
use store::error::StoreError;
use store::reply::Reply;
use store::request::Request;
use store::topology::Topology;
use store::urls::HostPort;

use crate::compare::stats_client::Ends;

/// A connection that is renewed after an error.
#[derive(Debug)]
pub(crate) struct Link {
    addresses: Vec<HostPort>,
    names: Names,
    login: Option<Credentials>,
    client: Option<Client>,
    /// What earlier connections have sent.
    before: Sent,
}

impl Link {
    /// A link that is not connected yet.
    pub(crate) const fn new(addresses: Vec<HostPort>, names: Names, login: Option<Credentials>) -> Self {
        Self {
            addresses,
            names,
            login,
            client: None,
            before: Sent { bytes: 0, calls: std::collections::BTreeMap::new() },
        }
    }

    /// Uses these addresses from now on.
    pub(crate) fn move_to(&mut self, addresses: &[HostPort]) {
        if self.addresses != addresses {
            self.addresses = addresses.to_vec();
            self.drop_client();
        }
    }

    /// All that was sent, over all connections.
    pub(crate) fn sent(&self) -> Sent {
        let mut sent = self.before.clone();
        if let Some(client) = &self.client {
            sent.add(client.sent());
        }
        sent
    }

    /// Connects, if there is no connection.
    pub(crate) async fn ready(&mut self) -> Result<&mut Client, StoreError> {
        if self.client.is_none() {
            self.client = Some(connect(&self.addresses, &self.names, self.login.as_ref()).await?);
        }
        self.client.as_mut().ok_or_else(no_address)
    }

    /// Sends a request. An error of the connection closes it.
    pub(crate) async fn call(&mut self, request: Request) -> Result<Reply, StoreError> {
        let answer = self.ready().await?.call(request).await;
        if answer.as_ref().is_err_and(|error| !error.is_about_request()) {
            self.drop_client();
        }
        answer
    }

    /// Reads the cluster's nodes. An error of the connection closes it.
    pub(crate) async fn topology(&mut self, asked: &HostPort) -> Result<Topology, StoreError> {
        let found = self.ready().await?.topology(asked).await;
        if found.as_ref().is_err_and(|error| !error.is_about_request()) {
            self.drop_client();
        }
        found
    }

    /// The ends of the connection. `None` without one.
    pub(crate) fn ends(&self) -> Option<Ends> {
        let (client, server) = self.client.as_ref()?.ends()?;
        Some(Ends { client, server })
    }

    /// Closes the connection, for another runtime or because the addresses have changed.
    pub(crate) fn drop_client(&mut self) {
        if let Some(client) = self.client.take() {
            self.before.add(client.sent());
        }
    }
}

/// Connects to the first address that accepts.
async fn connect(
    addresses: &[HostPort],
    names: &Names,
    login: Option<&Credentials>,
) -> Result<Client, StoreError> {
    let mut failed = Err(no_address());
    for address in addresses {
        match resolve(address, names).await {
            Ok(found) => {
                for at in found {
                    match Client::connect(at, login).await {
                        Ok(client) => return Ok(client),
                        Err(error) => failed = Err(error),
                    }
                }
                names.doubt(&address.host);
            }
            Err(error) => failed = Err(error),
        }
    }
    failed
}

fn no_address() -> StoreError {
    StoreError::NoAddress { reason: "no address is known".to_owned() }
}

/// The addresses of a host.
pub(crate) async fn resolve(at: &HostPort, names: &Names) -> Result<Vec<SocketAddr>, StoreError> {
    let found = names.resolve_with_port(&at.host, at.port).await;
    found.map_err(|error| StoreError::NoAddress { reason: error.to_string() })
}
