//! From a URL to the address that the load goes to.

use protocol::shard_urls::ShardUrl;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};

use crate::error::RunError;

/// Longest wait for each of several addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The address of a URL. Of several, as `localhost` may have, the first that accepts a connection.
///
/// # Errors
/// When the name has no address.
pub async fn resolve(url: &ShardUrl) -> Result<SocketAddr, RunError> {
    let no_address = |source| RunError::NoAddress { url: url.to_string(), source };
    let found: Vec<_> = lookup_host(host_header(url)).await.map_err(no_address)?.collect();
    first_reachable(&found).await.ok_or_else(|| no_address(std::io::ErrorKind::NotFound.into()))
}

/// The first address that accepts a connection; else the first, whose error the first request then reports.
async fn first_reachable(addrs: &[SocketAddr]) -> Option<SocketAddr> {
    // The only address is not tried: shards and probe would count the connection.
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
