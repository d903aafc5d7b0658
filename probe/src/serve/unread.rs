//! Limits the bytes of answers that clients have not read yet.

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use protocol::ErrorKind;
use service::problem::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limit for all answers together. The largest answer is a list of keys of about 13 MiB.
const MAX_BYTES: usize = 32 << 20;

/// Answers up to this size are not counted. The socket buffers them, and other clients' answers must not fail health
/// checks.
const SMALL_BYTES: usize = 4 << 10;

/// The remaining bytes, shared by all connections.
#[derive(Clone, Debug)]
pub struct Unread(Arc<Semaphore>);

impl Default for Unread {
    fn default() -> Self {
        Self::new(MAX_BYTES)
    }
}

impl Unread {
    /// A limit of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_many_owned(u32::try_from(bytes).ok()?).ok()
    }
}

/// A body that frees its bytes once the socket has taken the last one.
struct Held {
    body: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Sends an answer if it fits into the limit. Streams have limits of their own. 503 when it does not fit.
pub(crate) async fn bounded(State(unread): State<Unread>, request: Request, next: Next) -> Response {
    let (parts, body) = next.run(request).await.into_parts();
    let length = body.size_hint().exact().and_then(|length| usize::try_from(length).ok());
    let Some(length @ SMALL_BYTES..) = length else { return Response::from_parts(parts, body) };
    let Some(room) = unread.room(length) else {
        let full = Problem::new(ErrorKind::Overloaded, "too many unread responses; try again later");
        return full.retry_after(1).into_response();
    };
    match to_bytes(body, length).await {
        Ok(body) => Response::from_parts(parts, Body::from(Bytes::from_owner(Held { body, _room: room }))),
        Err(error) => Problem::new(ErrorKind::Internal, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::num::NonZeroUsize;
    use std::time::{Duration, Instant};

    use axum::Router;
    use axum::routing::get;
    use service::server::Server;

    use super::*;

    /// More than the sockets of one connection buffer.
    const ANSWER: usize = 48 << 20;

    /// Sends a request and reads only the status line.
    fn exchange(addr: SocketAddr, path: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8(status.to_vec()).unwrap())
    }

    #[test]
    fn answers_that_nobody_reads_take_bounded_room_and_give_it_back() {
        let unread = Unread::new(3 * ANSWER);
        let room = unread.clone();
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN).unwrap();
        let server = server
            .start(move |_| {
                Router::new()
                    .route("/long", get(|| async { Bytes::from_static(&[b' '; ANSWER]) }))
                    .route("/short", get(|| async { "ok" }))
                    .layer(axum::middleware::from_fn_with_state(unread.clone(), bounded))
            })
            .unwrap();
        let addr = server.local_addr();
        let mut held: Vec<_> = (0..300).map(|_| exchange(addr, "/long")).collect();
        let answered: Vec<&str> = held.iter().map(|(_, status)| status.as_str()).collect();
        assert_eq!(answered[..3], ["HTTP/1.1 200"; 3]);
        assert!(answered[3..].iter().all(|status| *status == "HTTP/1.1 503"), "{answered:?}");
        // One client reads its answer to the end, another closes.
        let mut all = vec![0; ANSWER];
        held[0].0.read_exact(&mut all).unwrap();
        drop(held.remove(1));
        let deadline = Instant::now() + Duration::from_secs(10);
        while room.0.available_permits() < 2 * ANSWER - 1_000 {
            assert!(Instant::now() < deadline, "{room:?}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        assert_eq!(exchange(addr, "/short").1, "HTTP/1.1 200");
        assert_eq!(exchange(addr, "/long").1, "HTTP/1.1 200");
        drop(held);
        assert!(server.stop(Duration::from_secs(10)).is_empty());
    }
}
