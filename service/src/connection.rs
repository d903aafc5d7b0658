//! Tracks a connection's progress, so a drain can detect stalled clients.
//!
//! A drain closes the connection of a stalled client but waits for a request that is being handled.

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use socket2::SockRef;
use std::io::{ErrorKind, IoSlice, Result as IoResult};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How long a client may make no progress during a drain while the server waits for it.
const STALL_TIMEOUT: Duration = Duration::from_millis(400);
/// Interval of the checks during a drain.
const CHECK_PERIOD: Duration = Duration::from_millis(20);

/// The progress of one connection. Cheap to clone; all clones share its state.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<State>);

#[derive(Default)]
struct State {
    /// Number of reads and writes that completed.
    moved: AtomicU32,
    /// Number of running request handlers: 0 or 1.
    handlers: AtomicU32,
    /// Whether the handler waits for more of the request body.
    awaits_body: AtomicBool,
    /// Whether a write is blocked because the client does not read the answer.
    write_blocked: AtomicBool,
}

impl Progress {
    /// Marks a handler as running until the guard is dropped.
    pub(crate) fn handle(&self) -> HandlerGuard {
        self.0.handlers.fetch_add(1, Ordering::Relaxed);
        HandlerGuard(self.clone())
    }

    /// Wraps the body of a request.
    pub(crate) fn body(&self, body: Incoming) -> Body {
        if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(TrackedBody { body, progress: self.clone() })
        }
    }

    /// Returns when the server has waited too long for the client. Only a drain calls this. The cases are:
    ///
    /// - The server waits for the rest of a body, or for the client to read an answer. The limit is
    ///   [`STALL_TIMEOUT`] without progress.
    /// - The server waits for the rest of a request head. The limit is [`STALL_TIMEOUT`] in total.
    /// - The handler runs and needs nothing from the client. There is no limit.
    pub(crate) async fn stalled(&self) {
        let moved = || self.0.moved.load(Ordering::Relaxed);
        let (mut before, mut stalled) = (moved(), Duration::ZERO);
        loop {
            tokio::time::sleep(CHECK_PERIOD).await;
            let works = self.0.handlers.load(Ordering::Relaxed) > 0;
            let blocked = if works { &self.0.awaits_body } else { &self.0.write_blocked };
            let blocked = blocked.load(Ordering::Relaxed);
            let progressed = std::mem::replace(&mut before, moved()) != before;
            // While no handler runs, received bytes do not count as progress: a request head that arrives in small
            // pieces is no request yet.
            let waits_for_head = !works && !blocked;
            stalled += CHECK_PERIOD;
            if (works && !blocked) || (progressed && !waits_for_head) {
                stalled = Duration::ZERO;
            }
            if stalled >= STALL_TIMEOUT {
                return;
            }
        }
    }
}

/// The guard of [`Progress::handle`].
pub(crate) struct HandlerGuard(Progress);

impl Drop for HandlerGuard {
    fn drop(&mut self) {
        self.0.0.handlers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request body that records whether its reader waits for data.
struct TrackedBody {
    body: Incoming,
    progress: Progress,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.progress.0.awaits_body.store(frame.is_pending(), Ordering::Relaxed);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        self.progress.0.awaits_body.store(false, Ordering::Relaxed);
    }
}

/// A connection's stream that records its progress.
pub(crate) struct TrackedStream {
    tcp: Arc<TcpStream>,
    progress: Progress,
}

impl TrackedStream {
    pub(crate) fn new(tcp: Arc<TcpStream>, progress: Progress) -> Self {
        Self { tcp, progress }
    }

    /// Tries to write once the stream is writable.
    fn write(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> IoResult<usize>,
    ) -> Poll<IoResult<usize>> {
        let state = &self.progress.0;
        loop {
            let Poll::Ready(ready) = self.tcp.poll_write_ready(cx) else {
                state.write_blocked.store(true, Ordering::Relaxed);
                return Poll::Pending;
            };
            ready?;
            match write(&self.tcp) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                written => {
                    state.write_blocked.store(false, Ordering::Relaxed);
                    state.moved.fetch_add(1, Ordering::Relaxed);
                    return Poll::Ready(written);
                }
            }
        }
    }
}

impl AsyncRead for TrackedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<IoResult<()>> {
        loop {
            ready!(self.tcp.poll_read_ready(cx))?;
            match self.tcp.try_read_buf(buf) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                Err(err) => return Poll::Ready(Err(err)),
                Ok(_) => {
                    self.progress.0.moved.fetch_add(1, Ordering::Relaxed);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<IoResult<usize>> {
        self.write(cx, |tcp| tcp.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<IoResult<usize>> {
        self.write(cx, |tcp| tcp.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<IoResult<()>> {
        Poll::Ready(SockRef::from(&*self.tcp).shutdown(Shutdown::Write))
    }
}
