//! Limits how many bytes a connection reads per request.
//!
//! An HTTP client skips interim answers (100 Continue) without limit. So the connection itself limits what it reads.
//! Before the head of the final answer the limit is [`HEAD_MAX_BYTES`]. After it, the limit is the maximum size of an
//! answer.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use service::names::{Names, Resolver};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::ServiceExt as _;
use tower::util::MapResponse;

/// Maximum number of bytes read before the head of the final answer.
const HEAD_MAX_BYTES: usize = 256 * 1024;

/// Maximum number of bytes per read. The first body bytes come with the head, so [`HEAD_MAX_BYTES`] must be several
/// times as large.
const READ_MAX_BYTES: usize = 64 * 1024;

type Plain = TokioIo<TcpStream>;
type Connector = MapResponse<HttpConnector<Resolver>, fn(Plain) -> TokioIo<Bounded>>;

/// A client without redirects and proxies.
pub(super) type BoundedClient = Client<Connector, Empty<Bytes>>;

pub(super) fn client(names: &Names) -> BoundedClient {
    let mut connector = HttpConnector::new_with_resolver(Resolver(names.clone()));
    connector.set_nodelay(true);
    let bounded: fn(Plain) -> TokioIo<Bounded> = |stream| TokioIo::new(Bounded::new(stream.into_inner()));
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new()).http1_max_buf_size(READ_MAX_BYTES);
    builder.build(connector.map_response(bounded))
}

/// Bytes that a connection may still read for its current request. It is an extension of each answer.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// Sets the limit for the rest of the answer, once its head is read.
    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// Both ends of a connection. It is an extension of each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// This process's end.
    pub(crate) client: SocketAddr,
    /// The end that answers.
    pub(crate) server: SocketAddr,
}

/// A connection that limits what it reads per request.
#[derive(Debug)]
pub(super) struct Bounded {
    stream: TcpStream,
    allowance: Allowance,
    /// `None` when the peer has already closed the connection.
    ends: Option<Ends>,
}

impl Bounded {
    fn new(stream: TcpStream) -> Self {
        let both = stream.local_addr().and_then(|client| Ok(Ends { client, server: stream.peer_addr()? }));
        Self { stream, allowance: Allowance(Arc::new(AtomicUsize::new(HEAD_MAX_BYTES))), ends: both.ok() }
    }
}

impl Connection for Bounded {
    fn connected(&self) -> Connected {
        let connected = self.stream.connected().extra(self.allowance.clone());
        match self.ends {
            Some(ends) => connected.extra(ends),
            None => connected,
        }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let Self { stream, allowance, .. } = self.get_mut();
        let left = allowance.0.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Err(Error::other("its response is incomplete")));
        }
        let before = buf.filled().len();
        let read = Pin::new(stream).poll_read(cx, buf);
        allowance.set(left.saturating_sub(buf.filled().len() - before));
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let Self { stream, allowance, .. } = self.get_mut();
        // Every write is part of a request, so it resets the limit.
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
