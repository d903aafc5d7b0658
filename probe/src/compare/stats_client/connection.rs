//! Connections that read a bounded number of bytes a request.
//!
//! An HTTP client skips interim answers (100 Continue) without end. So the connection bounds what it reads: little until
//! the head of the final answer is there, and then what an answer may have.

use std::io::{Error, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::ServiceExt as _;
use tower::util::MapResponse;

/// Bytes that are read before the head of the final answer is known.
const HEAD_MAX_BYTES: usize = 256 * 1024;

/// Bytes that one read takes. The first body bytes come with the head, so several reads must fit [`HEAD_MAX_BYTES`].
const READ_MAX_BYTES: usize = 64 * 1024;

type Plain = TokioIo<TcpStream>;
type Connector = MapResponse<HttpConnector, fn(Plain) -> TokioIo<Bounded>>;

/// A client that follows no redirects and uses no proxies.
pub(super) type BoundedClient = Client<Connector, Empty<Bytes>>;

pub(super) fn client() -> BoundedClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let bounded: fn(Plain) -> TokioIo<Bounded> = |stream| TokioIo::new(Bounded::new(stream.into_inner()));
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).http1_max_buf_size(READ_MAX_BYTES);
    builder.build(connector.map_response(bounded))
}

/// Bytes that a connection may still read for its present request; an extension of each answer.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// The head is there: the rest may have so many bytes.
    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// A connection whose requests bound what it reads.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: TcpStream,
    allowance: Allowance,
}

impl Bounded {
    fn new(stream: TcpStream) -> Self {
        Self { stream, allowance: Allowance(Arc::new(AtomicUsize::new(HEAD_MAX_BYTES))) }
    }
}

impl Connection for Bounded {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.allowance.clone())
    }
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let Self { stream, allowance } = self.get_mut();
        let left = allowance.0.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Err(Error::other("its answer has no end")));
        }
        let before = buf.filled().len();
        let read = Pin::new(stream).poll_read(cx, buf);
        allowance.set(left.saturating_sub(buf.filled().len() - before));
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let Self { stream, allowance } = self.get_mut();
        // Only a request is ever written.
        allowance.set(HEAD_MAX_BYTES);
        Pin::new(stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
