//! Clients that hold connections without completing an exchange.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long a client tries to send its bytes. A server that does not read blocks it.
const SENDING: Duration = Duration::from_secs(2);

/// Opens `count` connections, and sends `bytes` on each. Returns those that the server accepted. Nothing is read.
pub async fn hold(addr: SocketAddr, count: usize, bytes: &str) -> Vec<TcpStream> {
    let bytes: std::sync::Arc<[u8]> = bytes.as_bytes().into();
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let bytes = std::sync::Arc::clone(&bytes);
        clients.spawn(async move {
            let connected = tokio::time::timeout(SENDING, TcpStream::connect(addr)).await;
            let mut stream = connected.ok()?.ok()?;
            // The server may close the connection before it has read everything.
            drop(tokio::time::timeout(SENDING, stream.write_all(&bytes)).await);
            Some(stream)
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

/// A request whose head of 31 KiB is incomplete.
#[must_use]
pub fn unfinished_head() -> String {
    format!("GET /data/k HTTP/1.1\r\nHost: lab\r\nX: {}", "x".repeat(31 << 10))
}

/// A write whose body of 60 KiB lacks its last byte.
#[must_use]
pub fn unfinished_body() -> String {
    let body = write_body("unfinished", 60 << 10);
    format!(
        "POST /data HTTP/1.1\r\nHost: lab\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        &body[..body.len() - 1]
    )
}

/// Many reads of one key.
#[must_use]
pub fn reads(key: &str) -> String {
    format!("GET /data/{key} HTTP/1.1\r\nHost: lab\r\n\r\n").repeat(50)
}

/// The body that writes a value of `bytes` bytes.
#[must_use]
pub fn write_body(key: &str, bytes: usize) -> String {
    format!("{{\"key\":\"{key}\",\"value\":{{\"pad\":\"{}\"}}}}", "x".repeat(bytes))
}
