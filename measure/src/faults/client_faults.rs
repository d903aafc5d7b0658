//! Clients that use up what a server has.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Time for a client to connect and to send what it sends.
const SEND: Duration = Duration::from_millis(500);

/// Clients that end when this is dropped.
pub(crate) struct Clients {
    _connections: Vec<TcpStream>,
    _tasks: JoinSet<()>,
}

/// Connects and sends nothing.
pub(crate) async fn idle(addr: SocketAddr, number: usize) -> Clients {
    senders(addr, number, Vec::new()).await
}

/// Sends half of a body of 60 KB.
pub(crate) async fn unfinished_bodies(addr: SocketAddr, number: usize) -> Clients {
    let mut request =
        b"POST /data HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
            .to_vec();
    request.extend(std::iter::repeat_n(b' ', 30_000));
    senders(addr, number, request).await
}

/// Requests much, and reads no answer.
pub(crate) async fn slow_readers(addr: SocketAddr, number: usize) -> Clients {
    senders(addr, number, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100)).await
}

/// Sends a request's head a byte at a time, again and again.
pub(crate) fn slow_writers(addr: SocketAddr, number: usize) -> Clients {
    let mut tasks = JoinSet::new();
    for _ in 0..number {
        tasks.spawn(async move {
            let Ok(mut stream) = TcpStream::connect(addr).await else { return };
            for byte in b"GET /data/slow HTTP/1.1\r\nHost: a\r\nX: ".iter().chain(&[b'x'; 1_000]) {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(500)).await;
            }
        });
    }
    Clients { _connections: Vec::new(), _tasks: tasks }
}

/// Requests the metrics of all servers and resets the connection, again and again.
pub(crate) fn scrapers(servers: &[SocketAddr]) -> Clients {
    let mut tasks = JoinSet::new();
    for addr in servers.iter().copied() {
        tasks.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(addr).await {
                    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
                    let _ = (stream.readable().await, stream.set_zero_linger());
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
    Clients { _connections: Vec::new(), _tasks: tasks }
}

/// Connects `number` times and sends `request`, as far as the server takes it.
async fn senders(addr: SocketAddr, number: usize, request: Vec<u8>) -> Clients {
    let mut sending = JoinSet::new();
    for _ in 0..number {
        let request = request.clone();
        sending.spawn(async move {
            let mut stream = timeout(SEND, TcpStream::connect(addr)).await.ok()?.ok()?;
            // A server that refuses the request may close before it has read it all.
            let _ = timeout(SEND, stream.write_all(&request)).await;
            Some(stream)
        });
    }
    let connections = sending.join_all().await.into_iter().flatten().collect();
    Clients { _connections: connections, _tasks: JoinSet::new() }
}
