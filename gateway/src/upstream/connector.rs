//! Connections to the shards that observe the present request.
//!
//! Each connection has a [`Witness`], which records whether the request was sent and whether an answer began.

use axum::http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use service::names::{Names, Resolver};
use std::error::Error as StdError;
use std::io::{Error as IoError, IoSlice, Result as IoResult};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

/// Nothing of the present request was written.
const IDLE: u8 = 0;
/// A write was attempted. The system has accepted nothing yet.
const TRIED: u8 = 1;
/// The system accepted at least a part of the request.
const SENT: u8 = 2;
/// At least one byte of an answer arrived.
const ANSWERED: u8 = 3;

/// Largest number of bytes up to the end of an answer's head. The connection of a shard that sends interim answers
/// (1xx) without end is closed at this limit. The limit includes the bytes of the body that hyper reads ahead.
const HEAD_MAX_BYTES: u32 = 3 * BUFFER_MAX_BYTES as u32;
/// The largest read buffer of a connection, in bytes.
pub(crate) const BUFFER_MAX_BYTES: usize = 64 * 1024;

/// Largest number of bytes of one read. hyper enlarges its buffer after a read that fills it, and the connection keeps
/// the buffer.
const READ_MAX_BYTES: usize = 8 * 1024;

/// Called when the system accepts the first byte of a request.
pub(super) type OnSent = Arc<dyn Fn() + Send + Sync>;

/// The progress of the one request that is on a connection.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Exchange>);

#[derive(Default)]
struct Exchange {
    state: AtomicU8,
    /// Bytes read after the request was sent and before the head of its answer was complete.
    read: AtomicU32,
    on_sent: Mutex<Option<OnSent>>,
}

impl Witness {
    /// Whether at least one byte of the answer arrived.
    pub(crate) fn answer_began(&self) -> bool {
        self.state() == ANSWERED
    }

    /// Calls `call` once when the system accepts the first byte of the request. If it already has, calls it
    /// immediately.
    pub(super) fn on_sent(&self, call: &OnSent) {
        // The state is read under the lock, and `advance` takes the call under the same lock.
        let mut waiting = self.0.on_sent.lock();
        if self.state() >= SENT {
            call();
        } else {
            *waiting = Some(Arc::clone(call));
        }
    }

    /// Prepares for the next request on this connection. Call it when the head of an answer is complete. No other
    /// request can get the connection before that.
    pub(crate) fn settle(&self) {
        self.0.read.store(0, Ordering::Relaxed);
        self.0.state.store(IDLE, Ordering::Release);
    }

    fn state(&self) -> u8 {
        self.0.state.load(Ordering::Acquire)
    }

    fn advance(&self, from: &[u8], to: u8) {
        // The state has two writers, which never overlap: the connection's task, and `settle` between two requests.
        if !from.contains(&self.state()) {
            return;
        }
        self.0.state.store(to, Ordering::Release);
        if to == SENT
            && let Some(call) = self.0.on_sent.lock().take()
        {
            call();
        }
    }

    /// Records received bytes. Fails if the answer's head exceeds its limit.
    fn received(&self, bytes: usize) -> IoResult<()> {
        self.advance(&[TRIED, SENT], ANSWERED);
        if self.state() != ANSWERED {
            // The rest of an answer whose head is complete.
            return Ok(());
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let before = self.0.read.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > HEAD_MAX_BYTES {
            return Err(IoError::other(format!("no end of the answer's head within {HEAD_MAX_BYTES} bytes")));
        }
        Ok(())
    }
}

/// Connects to shards. Each connection carries its [`Witness`] as an extra.
#[derive(Clone)]
pub(crate) struct Connector {
    tcp: HttpConnector<Resolver>,
    names: Names,
    timeout: Duration,
}

impl Connector {
    /// `timeout` covers connecting and the name lookup.
    pub(crate) fn new(names: Names, timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver(names.clone()));
        tcp.set_nodelay(true);
        Self { tcp, names, timeout }
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
        let names = self.names.clone();
        let host = shard.host().map(str::to_owned);
        let connecting = tokio::time::timeout(self.timeout, self.tcp.call(shard));
        Box::pin(async move {
            let connected = connecting.await;
            if !matches!(connected, Ok(Ok(_)))
                && let Some(host) = &host
            {
                names.doubt(host);
            }
            let tcp = connected??.into_inner();
            Ok(TokioIo::new(Witnessed { tcp, witness: Witness::default() }))
        })
    }
}

/// A connection that records its progress in a [`Witness`].
pub(crate) struct Witnessed {
    tcp: TcpStream,
    witness: Witness,
}

impl Drop for Witnessed {
    fn drop(&mut self) {
        // Reset the connection of an abandoned request. After a normal close the shard would still serve the request,
        // because a half-closed client may still wait for its answer.
        if self.witness.state() != IDLE {
            // Fails only if the connection is already gone.
            let _ = self.tcp.set_zero_linger();
        }
    }
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
        if buf.remaining() > READ_MAX_BYTES {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(READ_MAX_BYTES));
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut part))?;
            let bytes = part.filled().len();
            buf.advance(bytes);
        } else {
            ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        }
        let bytes = buf.filled().len() - before;
        Poll::Ready(if bytes > 0 { self.witness.received(bytes) } else { Ok(()) })
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
    async fn an_answer_whose_head_never_ends_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut here =
            Connector::new(Names::default(), Duration::from_secs(20)).call(uri).await.unwrap().into_inner();
        let (mut there, _) = listener.accept().await.unwrap();
        here.write_all(b"ask").await.unwrap();
        tokio::spawn(async move { while there.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {} });
        let (mut total, mut part) = (0, vec![0; 8 * 1024]);
        let err = loop {
            match here.read(&mut part).await {
                Ok(bytes) => total += bytes,
                Err(err) => break err,
            }
        };
        assert!(
            total <= HEAD_MAX_BYTES as usize && err.to_string().contains("answer's head"),
            "{total} {err}"
        );
    }

    #[tokio::test]
    async fn a_request_is_reported_as_sent_once_when_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut here =
            Connector::new(Names::default(), Duration::from_secs(20)).call(uri).await.unwrap().into_inner();
        let count = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&count);
        let call: OnSent = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        here.witness.on_sent(&call);
        assert_eq!(count.load(Ordering::Relaxed), 0);
        here.write_all(b"ask").await.unwrap();
        here.write_all(b"more").await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1);
        here.witness.on_sent(&call);
        assert_eq!(count.load(Ordering::Relaxed), 2, "it was sent already");
    }

    #[tokio::test]
    async fn a_witness_tells_how_far_each_request_got() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let mut here =
            Connector::new(Names::default(), Duration::from_secs(20)).call(uri).await.unwrap().into_inner();
        let (mut there, _) = listener.accept().await.unwrap();
        let witness = here.witness.clone();
        let seen = || (witness.state() >= SENT, witness.answer_began());
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
        // Closed with unread bytes, so the read returns a reset or the end of the stream, but no byte.
        assert!(matches!(here.read(&mut byte).await, Ok(0) | Err(_)));
        assert_eq!(seen(), (true, false));
    }
}
