//! A connection's stream that records its progress.

use bytes::BufMut as _;
use socket2::SockRef;
use std::io::{ErrorKind, IoSlice, Result as IoResult};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connection::Progress;

/// Largest number of bytes of one read. hyper doubles its buffer after a read that fills it, and its first buffer has
/// 8 KiB. So the buffer stays small, and grows only with a head that is incomplete.
const READ_MAX_BYTES: usize = 8 * 1024 - 1;

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
        loop {
            let Poll::Ready(ready) = self.tcp.poll_write_ready(cx) else {
                self.progress.has_written(false);
                return Poll::Pending;
            };
            ready?;
            match write(&self.tcp) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                written => {
                    self.progress.has_written(true);
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
            match self.tcp.try_read_buf(&mut (&mut *buf).limit(READ_MAX_BYTES)) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                Err(err) => return Poll::Ready(Err(err)),
                Ok(bytes) => {
                    self.progress.has_read(bytes);
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
