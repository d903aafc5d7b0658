//! Resolves a name to the target address of the load.

use protocol::shard_urls::ShardUrl;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};

use crate::error::RunError;

/// Timeout for connecting to each of several addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Resolves a URL, as [`reachable`] does.
///
/// # Errors
/// Returns an error when the name has no address.
pub async fn resolve(url: &ShardUrl) -> Result<SocketAddr, RunError> {
    let no_address = |source| RunError::NoAddress { url: url.to_string(), source };
    reachable(host_header(url)).await.map_err(no_address)
}

/// Resolves a name with a port. If it has several addresses, as `localhost` may have, returns the first that accepts a
/// connection.
///
/// # Errors
/// Returns an error when the name has no address.
pub(crate) async fn reachable(name: impl ToSocketAddrs) -> std::io::Result<SocketAddr> {
    let found: Vec<_> = lookup_host(name).await?.collect();
    first_reachable(&found).await.ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

/// Returns the first address that accepts a connection. If none does, returns the first address; its error then shows
/// at the first request.
async fn first_reachable(addrs: &[SocketAddr]) -> Option<SocketAddr> {
    // A single address is not probed: shards and probe would count the connection.
    if addrs.len() > 1 {
        for addr in addrs {
            if let Ok(Ok(_)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
                return Some(*addr);
            }
        }
    }
    addrs.first().copied()
}

/// The `Host` header of requests to a URL.
#[must_use]
pub fn host_header(url: &ShardUrl) -> String {
    format!("{}:{}", url.host, url.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_over() {
        let bound = TcpSocket::new_v4().unwrap();
        bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refusing = bound.local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listening = listener.local_addr().unwrap();
        assert_eq!(first_reachable(&[refusing, listening]).await, Some(listening));
        assert_eq!(first_reachable(&[refusing, refusing]).await, Some(refusing));
        assert_eq!(first_reachable(&[refusing]).await, Some(refusing));
        assert_eq!(first_reachable(&[]).await, None);
    }
}
