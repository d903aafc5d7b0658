//! Connections that record whether a request was sent and an answer began.

use axum::http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use std::error::Error as StdError;
use std::io::{IoSlice, Result as IoResult};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

/// Nothing of the present request was written.
const IDLE: u8 = 0;
/// The system was asked to take it and took nothing yet.
const TRIED: u8 = 1;
/// The system took at least a part.
const SENT: u8 = 2;
/// At least a byte of an answer came.
const ANSWERED: u8 = 3;

/// How far the one request that is on a connection has got.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<AtomicU8>);

impl Witness {
    /// Whether the system took any of the request.
    pub(crate) fn was_sent(&self) -> bool {
        self.0.load(Ordering::Acquire) >= SENT
    }

    /// Whether a byte of the answer came.
    pub(crate) fn answer_began(&self) -> bool {
        self.0.load(Ordering::Acquire) == ANSWERED
    }

    /// Makes ready for the next request on this connection; to be called when the head of an answer is there, which is
    /// before another request can get the connection.
    pub(crate) fn settle(&self) {
        self.0.store(IDLE, Ordering::Release);
    }

    fn advance(&self, from: &[u8], to: u8) {
        // Only the connection's task and, between two requests, `settle` write.
        if from.contains(&self.0.load(Ordering::Acquire)) {
            self.0.store(to, Ordering::Release);
        }
    }
}

/// Connects to shards; each connection carries its [`Witness`] as an extra.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector,
    timeout: Duration,
}

impl Connector {
    /// A connection must stand within `timeout`, the look-up of the name included.
    pub(crate) fn new(timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        Self { tcp, timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Witnessed>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Uri>::poll_ready(&mut self.tcp, cx).map_err(Into::into)
    }

    fn call(&mut self, shard: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.timeout, self.tcp.call(shard));
        Box::pin(async move {
            let tcp = connecting.await??.into_inner();
            Ok(TokioIo::new(Witnessed { tcp, witness: Witness::default() }))
        })
    }
}

/// A connection that notes what passes.
pub(crate) struct Witnessed {
    tcp: TcpStream,
    witness: Witness,
}

impl Connection for Witnessed {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.witness.clone())
    }
}

impl AsyncRead for Witnessed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if buf.filled().len() > before {
            // When idle these are the rest of an answer whose head is there.
            self.witness.advance(&[TRIED, SENT], ANSWERED);
        }
        read
    }
}

impl Witnessed {
    fn write(
        &mut self,
        write: impl FnOnce(Pin<&mut TcpStream>) -> Poll<IoResult<usize>>,
    ) -> Poll<IoResult<usize>> {
        self.witness.advance(&[IDLE], TRIED);
        let written = write(Pin::new(&mut self.tcp));
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.witness.advance(&[TRIED], SENT);
        }
        written
    }
}

impl AsyncWrite for Witnessed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<IoResult<usize>> {
        self.write(|tcp| tcp.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<IoResult<usize>> {
        self.write(|tcp| tcp.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_witness_tells_how_far_each_request_got() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut here = Connector::new(Duration::from_secs(20)).call(uri).await.unwrap().into_inner();
        let (mut there, _) = listener.accept().await.unwrap();
        let witness = here.witness.clone();
        let seen = || (witness.was_sent(), witness.answer_began());
        let mut byte = [0];
        for _ in 0..2 {
            assert_eq!(seen(), (false, false), "nothing of this request was written");
            here.write_all(b"ask").await.unwrap();
            assert_eq!(seen(), (true, false));
            there.write_all(b"head").await.unwrap();
            here.read_exact(&mut byte).await.unwrap();
            assert_eq!(seen(), (true, true));
            witness.settle();
            here.read_exact(&mut [0; 3]).await.unwrap();
        }
        assert_eq!(seen(), (false, false), "the rest of an answer is none to the next request");
        here.write_all(b"ask").await.unwrap();
        drop(there);
        // Closed with unread bytes, so this is a reset or an end; neither is a byte.
        assert!(matches!(here.read(&mut byte).await, Ok(0) | Err(_)));
        assert_eq!(seen(), (true, false));
    }
}
