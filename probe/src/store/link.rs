//! Holds the connection to one node, and counts what was sent to it.

use std::net::SocketAddr;

use store::client::{Client, Sent};
use store::credentials::Credentials;
use store::error::StoreError;
use store::reply::Reply;
use store::request::Request;
use store::topology::Topology;
use store::urls::HostPort;

/// A connection that is renewed after an error.
#[derive(Debug)]
pub(crate) struct Link {
    addresses: Vec<HostPort>,
    login: Option<Credentials>,
    client: Option<Client>,
    /// What earlier connections have sent.
    before: Sent,
}

impl Link {
    /// A link that is not connected yet.
    pub(crate) const fn new(addresses: Vec<HostPort>, login: Option<Credentials>) -> Self {
        Self {
            addresses,
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
            self.client = Some(connect(&self.addresses, self.login.as_ref()).await?);
        }
        let unknown = || StoreError::NoAddress { host: String::new(), reason: "none is known".to_owned() };
        self.client.as_mut().ok_or_else(unknown)
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

    /// Closes the connection, for another runtime.
    pub(crate) fn drop_client(&mut self) {
        if let Some(client) = self.client.take() {
            self.before.add(client.sent());
        }
    }
}

/// Connects to the first address that accepts.
async fn connect(addresses: &[HostPort], login: Option<&Credentials>) -> Result<Client, StoreError> {
    let none = StoreError::NoAddress { host: String::new(), reason: "none is known".to_owned() };
    let mut failed = Err(none);
    for address in addresses {
        match resolve(address).await {
            Ok(found) => {
                for address in found {
                    match Client::connect(address, login).await {
                        Ok(client) => return Ok(client),
                        Err(error) => failed = Err(error),
                    }
                }
            }
            Err(error) => failed = Err(error),
        }
    }
    failed
}

/// The addresses of a host.
pub(crate) async fn resolve(at: &HostPort) -> Result<Vec<SocketAddr>, StoreError> {
    let found = tokio::net::lookup_host((at.host.as_str(), at.port)).await;
    let found =
        found.map_err(|error| StoreError::NoAddress { host: at.host.clone(), reason: error.to_string() })?;
    Ok(found.collect())
}
