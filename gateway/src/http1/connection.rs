//! A connection that carries one request at a time.

use axum::http::StatusCode;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use service::budget::Lease;
use service::limits::SMALL_BYTES;
use service::overload::Overload;
use std::io::{Error as IoError, ErrorKind, IoSlice, Result as IoResult};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;

use super::chunked::Chunked;
use super::head::{AnswerHead, Framing};

/// Largest number of bytes up to the end of an answer's head. It bounds interim answers (1xx) too, which a process
/// could send without end.
const HEAD_MAX_BYTES: usize = 64 * 1024;
/// Room for one read of a head. Most answers fit.
const READ_BYTES: usize = 8 * 1024;

/// A connection to another process.
pub(crate) struct Connection {
    tcp: TcpStream,
    /// Bytes that were read and not used yet. Empty between two requests.
    buffer: BytesMut,
    /// Bytes read for the present head.
    head_bytes: usize,
    stage: Stage,
}

/// How far the present request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// There is none, or the head of its answer is complete.
    Idle,
    /// A write was attempted. The system has accepted nothing yet.
    Tried,
    /// The system accepted at least a part of the request.
    Sent,
    /// At least one byte of an answer arrived.
    Answered,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// `Retry-After` in seconds.
    pub(crate) retry_after: Option<u32>,
    pub(crate) body: Bytes,
    /// Whether the connection may carry another request.
    pub(crate) keeps_alive: bool,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The connection failed before the first byte of an answer.
    BeforeAnswer(String),
    /// The answer is not HTTP, broke off, or is too long.
    Unreadable(String),
    /// The connection was reset in mid-answer, as by a process that ends.
    Reset(String),
    /// This process has no memory left for the answer.
    NoRoom,
}

/// Limits of an answer's body.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'a> {
    /// Counts the bytes of all bodies.
    pub(crate) overload: &'a Overload,
    /// The largest body.
    pub(crate) max_bytes: usize,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Reset the connection of an abandoned request. After a normal close the other process would still serve the
        // request, because a half-closed client may still wait for its answer.
        if self.stage != Stage::Idle {
            // Fails only if the connection is already gone.
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl Connection {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, buffer: BytesMut::new(), head_bytes: 0, stage: Stage::Idle }
    }

    /// Whether an idle connection is open and has no unexpected bytes, as far as the runtime knows.
    pub(crate) fn is_open(&self) -> bool {
        let nothing = |err: IoError| err.kind() == ErrorKind::WouldBlock;
        self.buffer.is_empty() && self.tcp.try_read(&mut [0]).is_err_and(nothing)
    }

    /// Whether the system has accepted no byte of the present request.
    pub(crate) fn has_sent_nothing(&self) -> bool {
        self.stage == Stage::Tried
    }

    /// Sends a request, `head` and `body`, and reads the answer. Calls `on_sent` once, when the system accepts the first
    /// byte.
    ///
    /// # Errors
    /// See [`Broken`]. The connection cannot be used again.
    pub(crate) async fn exchange(
        &mut self,
        head: &[u8],
        body: &[u8],
        limits: Limits<'_>,
        on_sent: impl FnOnce(),
    ) -> Result<Answer, Broken> {
        let early = self.send(head, body, on_sent).await?;
        let is_whole = early.is_none();
        let head = match early {
            Some(head) => head,
            None => self.head().await?,
        };
        self.stage = Stage::Idle;
        let body = self.body(head.framing, limits).await?;
        // Bytes after the answer belong to no request.
        let keeps_alive = head.keeps_alive && is_whole && self.buffer.is_empty();
        Ok(Answer { status: head.status, retry_after: head.retry_after, body, keeps_alive })
    }

    /// Sends a request. Returns the head of an answer that came before all of it was sent, such as a refusal of a large
    /// body.
    async fn send(
        &mut self,
        head: &[u8],
        body: &[u8],
        on_sent: impl FnOnce(),
    ) -> Result<Option<AnswerHead>, Broken> {
        (self.stage, self.head_bytes) = (Stage::Tried, 0);
        let (mut rest, mut on_sent) = ([IoSlice::new(head), IoSlice::new(body)], Some(on_sent));
        let mut rest = &mut rest[..if body.is_empty() { 1 } else { 2 }];
        while !rest.is_empty() {
            let written = match &*rest {
                [only] => self.tcp.try_write(only),
                both => self.tcp.try_write_vectored(both),
            };
            match written {
                Ok(0) => return Err(self.broken(&ErrorKind::WriteZero.into())),
                Ok(bytes) => {
                    if let Some(on_sent) = on_sent.take() {
                        self.stage = Stage::Sent;
                        on_sent();
                    }
                    IoSlice::advance_slices(&mut rest, bytes);
                }
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    let ready = self.tcp.ready(Interest::READABLE | Interest::WRITABLE).await;
                    let ready = ready.map_err(|err| self.broken(&err))?;
                    if ready.is_readable()
                        && let Some(early) = self.early_head()?
                    {
                        return Ok(Some(early));
                    }
                }
                Err(err) => {
                    // The other process may have answered and closed before it had read all.
                    return match self.early_head() {
                        Ok(Some(early)) => Ok(Some(early)),
                        _ => Err(self.broken(&err)),
                    };
                }
            }
        }
        Ok(None)
    }

    /// The head of an answer that has arrived although the request is not sent yet.
    fn early_head(&mut self) -> Result<Option<AnswerHead>, Broken> {
        loop {
            self.buffer.reserve(READ_BYTES);
            match self.tcp.try_read_buf(&mut self.buffer) {
                Ok(bytes) => self.received(bytes)?,
                Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(err) => return Err(self.broken(&err)),
            }
            if let Some(early) = self.take_head()? {
                return Ok(Some(early));
            }
        }
    }

    async fn head(&mut self) -> Result<AnswerHead, Broken> {
        loop {
            if let Some(head) = self.take_head()? {
                return Ok(head);
            }
            self.buffer.reserve(READ_BYTES);
            let read = self.tcp.read_buf(&mut self.buffer).await;
            let bytes = read.map_err(|err| self.broken(&err))?;
            self.received(bytes)?;
        }
    }

    /// Records bytes that arrived before the end of the head.
    fn received(&mut self, bytes: usize) -> Result<(), Broken> {
        if bytes == 0 {
            let closed = "the connection was closed before the answer was complete";
            return Err(self.broken(&IoError::other(closed)));
        }
        self.stage = Stage::Answered;
        self.head_bytes += bytes;
        // What was read with the head of a short answer counts too.
        if self.head_bytes > HEAD_MAX_BYTES {
            let reason = format!("no end of the answer's head within {HEAD_MAX_BYTES} bytes");
            return Err(Broken::Unreadable(reason));
        }
        Ok(())
    }

    /// Takes the head of the final answer from the buffer, and all interim ones before it. `None` if it is incomplete.
    fn take_head(&mut self) -> Result<Option<AnswerHead>, Broken> {
        while let Some((length, head)) = AnswerHead::parse(&self.buffer).map_err(Broken::Unreadable)? {
            self.buffer.advance(length);
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Broken::Unreadable("it switches protocols".into()));
            }
            if !head.status.is_informational() {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Reads the body. It counts in the bytes of all bodies until the last clone of it is dropped, unless it is small.
    async fn body(&mut self, framing: Framing, limits: Limits<'_>) -> Result<Bytes, Broken> {
        match framing {
            Framing::Length(length) if length > limits.max_bytes => Err(limits.too_large()),
            Framing::Length(length) if length < SMALL_BYTES && length <= self.buffer.len() => {
                // A part of the connection's buffer, which is not copied.
                Ok(self.buffer.split_to(length).freeze())
            }
            Framing::Length(length) => {
                let lease = match length {
                    ..SMALL_BYTES => None,
                    length => Some(limits.overload.body(length).ok_or(Broken::NoRoom)?),
                };
                let mut body = Vec::with_capacity(length);
                let read_ahead = length.min(self.buffer.len());
                body.extend_from_slice(&self.buffer[..read_ahead]);
                self.buffer.advance(read_ahead);
                let mut rest = (&mut body).limit(length - read_ahead);
                while rest.has_remaining_mut() {
                    in_body(self.tcp.read_buf(&mut rest).await)?;
                }
                let body = Bytes::from(body);
                Ok(match lease {
                    Some(lease) => lease.hold(body),
                    None => body,
                })
            }
            Framing::Chunked => {
                let (mut chunked, mut body) = (Chunked::default(), Unbounded::new(limits)?);
                while !chunked.decode(&mut self.buffer, &mut body.bytes).map_err(unreadable)? {
                    body.grow(limits)?;
                    self.buffer.reserve(READ_BYTES);
                    in_body(self.tcp.read_buf(&mut self.buffer).await)?;
                }
                body.end(limits)
            }
            Framing::UntilClose => {
                let mut body = Unbounded::new(limits)?;
                loop {
                    body.bytes.extend_from_slice(&self.buffer);
                    self.buffer.clear();
                    body.grow(limits)?;
                    self.buffer.reserve(READ_BYTES);
                    let read = self.tcp.read_buf(&mut self.buffer).await;
                    if read.map_err(|err| in_answer(&err, "it ended early: "))? == 0 {
                        return body.end(limits);
                    }
                }
            }
        }
    }

    /// The failure of a request whose answer has no complete head.
    fn broken(&self, err: &IoError) -> Broken {
        if self.stage == Stage::Answered { in_answer(err, "") } else { Broken::BeforeAnswer(err.to_string()) }
    }
}

/// The outcome of a read within a body.
fn in_body(read: IoResult<usize>) -> Result<(), Broken> {
    match read {
        Ok(0) => Err(unreadable("it ended early")),
        Ok(_) => Ok(()),
        Err(err) => Err(in_answer(&err, "it ended early: ")),
    }
}

/// The failure of an answer that began.
fn in_answer(err: &IoError, context: &str) -> Broken {
    let reason = format!("{context}{err}");
    if err.kind() == ErrorKind::ConnectionReset { Broken::Reset(reason) } else { Broken::Unreadable(reason) }
}

fn unreadable(reason: &str) -> Broken {
    Broken::Unreadable(reason.into())
}

impl Limits<'_> {
    fn too_large(&self) -> Broken {
        Broken::Unreadable(format!("it is larger than {} bytes", self.max_bytes))
    }
}

/// A body of unknown length.
struct Unbounded {
    bytes: Vec<u8>,
    lease: Lease,
}

impl Unbounded {
    fn new(limits: Limits<'_>) -> Result<Self, Broken> {
        Ok(Self { bytes: Vec::new(), lease: limits.overload.body(0).ok_or(Broken::NoRoom)? })
    }

    /// Takes room for the bytes so far, and for the next read.
    fn grow(&mut self, limits: Limits<'_>) -> Result<(), Broken> {
        if self.bytes.len() > limits.max_bytes {
            return Err(limits.too_large());
        }
        let needed = self.bytes.len() + READ_BYTES;
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(needed);
        }
        let more = self.bytes.capacity().saturating_sub(self.lease.bytes());
        if limits.overload.more_of_body(&mut self.lease, more) { Ok(()) } else { Err(Broken::NoRoom) }
    }

    fn end(mut self, limits: Limits<'_>) -> Result<Bytes, Broken> {
        self.grow(limits)?;
        Ok(self.lease.hold(Bytes::from(self.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    /// A connection, and the other end.
    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Connection::new(here), listener.accept().await.unwrap().0)
    }

    async fn ask(here: &mut Connection, body: &[u8]) -> (Result<Answer, Broken>, u32) {
        let (overload, mut sent) = (Overload::default(), 0);
        let limits = Limits { overload: &overload, max_bytes: 64 * 1024 };
        let answer = here.exchange(b"ask", body, limits, || sent += 1).await;
        (answer, sent)
    }

    /// Sends a request and answers it with these pieces. A piece is sent once the earlier one has probably been read.
    async fn answered(pieces: &[&[u8]]) -> Result<(String, bool), Broken> {
        let (mut here, mut there) = pair().await;
        let (mut request, pieces): (_, Vec<Vec<u8>>) = ([0; 3], pieces.iter().map(|p| p.to_vec()).collect());
        let answering = tokio::spawn(async move {
            there.read_exact(&mut request).await.unwrap();
            for piece in pieces {
                there.write_all(&piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        let (answer, sent) = ask(&mut here, b"").await;
        answering.await.unwrap();
        assert_eq!(sent, 1);
        answer.map(|answer| (String::from_utf8(answer.body.to_vec()).unwrap(), answer.keeps_alive))
    }

    #[tokio::test]
    async fn answers_are_read_however_they_arrive_and_whatever_their_form() {
        let large = "x".repeat(20_000);
        let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n{large}");
        let (first, second) = whole.as_bytes().split_at(9_000);
        assert_eq!(answered(&[first, second]).await.unwrap(), (large, true));
        let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nlink: y\r\n\r\nHTTP/1.1 204 z\r\n\r\n";
        assert_eq!(answered(&[&interim[..30], &interim[30..]]).await.unwrap(), (String::new(), true));
        let chunked: [&[u8]; 3] =
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nab", b"c\r\n0\r", b"\n\r\n"];
        assert_eq!(answered(&chunked).await.unwrap(), ("abc".into(), true));
        assert_eq!(
            answered(&[b"HTTP/1.0 200 OK\r\n\r\nall", b"of it"]).await.unwrap(),
            ("allof it".into(), false)
        );
        let more = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP";
        assert_eq!(answered(&[more]).await.unwrap(), ("ok".into(), false), "nobody asked for the rest");
    }

    #[tokio::test]
    async fn broken_answers_are_named() {
        let unreadable = |reason: &str| Err(Broken::Unreadable(reason.into()));
        let short = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab";
        assert_eq!(answered(&[short]).await, unreadable("it ended early"));
        let closed = "the connection was closed before the answer was complete";
        assert_eq!(answered(&[b"HTTP/1.1 200"]).await, unreadable(closed));
        assert_eq!(answered(&[]).await, Err(Broken::BeforeAnswer(closed.into())));
        assert!(matches!(answered(&[b"nonsense\r\n\r\n"]).await, Err(Broken::Unreadable(_))));
        let large = b"HTTP/1.1 200 OK\r\ncontent-length: 65537\r\n\r\n";
        assert_eq!(answered(&[large]).await, unreadable("it is larger than 65536 bytes"));
        let switch = b"HTTP/1.1 101 x\r\nupgrade: y\r\n\r\n";
        assert_eq!(answered(&[switch]).await, unreadable("it switches protocols"));
    }

    #[tokio::test]
    async fn an_answer_whose_head_never_ends_is_cut_off() {
        for body in [&[][..], &vec![0; 64 << 20]] {
            let (mut here, there) = pair().await;
            tokio::spawn(async move {
                let (_unread, mut write) = there.into_split();
                while write.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_ok() {}
            });
            let (answer, _) = ask(&mut here, body).await;
            assert!(matches!(answer, Err(Broken::Unreadable(reason)) if reason.contains("answer's head")));
        }
    }

    #[tokio::test]
    async fn a_connection_is_used_again_until_the_other_end_closes_it() {
        let (mut here, mut there) = pair().await;
        let (end, mut ended) = mpsc::channel::<()>(1);
        let serving = tokio::spawn(async move {
            for _ in 0..2 {
                there.read_exact(&mut [0; 3]).await.unwrap();
                there.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
            }
            ended.recv().await;
        });
        for _ in 0..2 {
            assert!(ask(&mut here, b"").await.0.unwrap().keeps_alive && here.is_open());
        }
        drop(end);
        serving.await.unwrap();
        here.tcp.readable().await.unwrap();
        assert!(!here.is_open());
        let (answer, sent) = ask(&mut here, b"").await;
        assert!(matches!(answer, Err(Broken::BeforeAnswer(_))) && sent == 1);
    }

    #[tokio::test]
    async fn a_refusal_that_comes_before_the_whole_body_was_sent_is_the_answer() {
        for is_closed in [false, true] {
            let (mut here, mut there) = pair().await;
            let refusing = tokio::spawn(async move {
                there.read_exact(&mut [0; 3]).await.unwrap();
                there.write_all(b"HTTP/1.1 413 x\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                // Without a reader the connection is reset, because bytes are unread.
                (!is_closed).then_some(there)
            });
            let (answer, sent) = ask(&mut here, &vec![0; 64 << 20]).await;
            let answer = answer.unwrap();
            assert_eq!((answer.status.as_u16(), answer.keeps_alive, sent), (413, false, 1));
            drop(refusing.await);
        }
    }

    #[tokio::test]
    async fn an_abandoned_request_resets_its_connection() {
        let (mut here, mut there) = pair().await;
        let asked = tokio::time::timeout(Duration::from_millis(20), ask(&mut here, b"")).await;
        assert!(asked.is_err());
        drop(here);
        there.read_exact(&mut [0; 3]).await.unwrap();
        assert_eq!(there.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
