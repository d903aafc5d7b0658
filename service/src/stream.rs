//! A connection's stream that records its progress.

use bytes::{BufMut, Bytes};
use socket2::SockRef;
use std::io::{ErrorKind, IoSlice, Result as IoResult};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::connection::Progress;

/// Largest number of bytes of one read. hyper doubles its buffer after a read that fills it, and its first buffer has
/// 8 KiB. So the buffer stays small, and grows only with a head that is incomplete.
const READ_MAX_BYTES: usize = 8 * 1024 - 1;

/// A connection's stream that records its progress.
pub(crate) struct TrackedStream {
    tcp: Arc<TcpStream>,
    /// Bytes that were read before.
    read_ahead: Bytes,
    progress: Progress,
}

impl TrackedStream {
    pub(crate) fn new(tcp: Arc<TcpStream>, read_ahead: Bytes, progress: Progress) -> Self {
        Self { tcp, read_ahead, progress }
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

/// Reads at most `limit` bytes if the socket has some.
///
/// A read that does not fill the buffer has emptied the socket. The runtime is told so; otherwise the next wait would
/// end at once, for a read that finds nothing (`epoll(7)`, questions 9).
pub(crate) fn try_read(tcp: &TcpStream, buf: &mut impl BufMut, limit: usize) -> IoResult<usize> {
    let room = buf.chunk_mut().len().min(limit);
    let bytes = tcp.try_read_buf(&mut (&mut *buf).limit(limit))?;
    if 0 < bytes && bytes < room {
        let emptied = tcp.try_io(Interest::READABLE, || Err::<(), _>(ErrorKind::WouldBlock.into()));
        debug_assert!(emptied.is_err());
    }
    Ok(bytes)
}

impl AsyncRead for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        if !self.read_ahead.is_empty() {
            let length = self.read_ahead.len().min(buf.remaining());
            buf.put_slice(&self.read_ahead.split_to(length));
            self.progress.has_read(length);
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.tcp.poll_read_ready(cx))?;
            match try_read(&self.tcp, buf, READ_MAX_BYTES) {
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
