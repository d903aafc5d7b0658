//! The lean way from socket to socket: serves plain reads without the general HTTP server.
//!
//! Every connection begins here if the process has such reads. For each request:
//!
//! 1. Read from the socket until the buffer has a whole head.
//! 2. Decide whether it is a [`PlainRead`]: `GET` of a path below the prefix by HTTP/1.1, without a body, and nothing
//!    unusual. If it is not, the connection leaves with all its unread bytes, and hyper serves it from then on. So the
//!    general server also answers every invalid request.
//! 3. Call the handler. It answers at once, or with a future.
//! 4. Write head and body with one system call, unless the body is large.
//!
//! A read from the cache is answered without a task, a box or a search for its route. The deadlines of clients are not
//! here: [`Connections`](crate::connections::Connections) orders a slow one to end.

use axum::body::to_bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use socket2::SockRef;
use std::borrow::Cow;
use std::future::poll_fn;
use std::io::{Error as IoError, ErrorKind as IoErrorKind, IoSlice, Result as IoResult, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;

use crate::connection::{Order, Progress};
use crate::host;
use crate::limits::SMALL_BYTES;
use crate::overload::Overload;
use crate::problem::Problem;
use crate::stream;

/// First size of a connection's buffer. Most heads fit.
const BUFFER_BYTES: usize = 1024;
/// Answers in a row after which other connections have a turn. hyper has the same limit.
const TURN: u32 = 16;
/// How long a client may take to close after the last answer.
const LINGER: Duration = Duration::from_millis(250);
/// A longer head is left to hyper.
const HEAD_MAX_BYTES: usize = 8 * 1024;
/// A head with more headers is left to hyper.
const MAX_HEADERS: usize = 32;
/// Begin of the head of an answer with JSON.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
/// Room for the head of an answer. Most fit.
const HEAD_BYTES: usize = 256;
/// Answers up to this size are copied behind their head, so that one buffer is written.
const COPIED_MAX_BYTES: usize = 16 * 1024;

/// A handler of plain reads.
pub trait Reads: Send + Sync + 'static {
    /// Answers a read. The router must answer the same.
    ///
    /// The future is dropped when the client resets its connection. So count the request before it is returned.
    fn read(&self, request: &PlainRead<'_>) -> Reading;
}

/// How a read is answered.
pub enum Reading {
    /// The answer is known.
    Now(ReadAnswer),
    /// The answer will be known.
    Later(BoxFuture<'static, ReadAnswer>),
}

/// The body of an answer with the status 200, or any other response.
pub type ReadAnswer = Result<JsonBody, Box<Response>>;

/// A JSON text around a value. A large value is sent from where it is.
#[derive(Debug, Default)]
pub struct JsonBody {
    /// The text without the value.
    pub around: Vec<u8>,
    /// Where in `around` the value belongs.
    pub at: usize,
    /// The value, JSON too.
    pub value: Bytes,
}

impl JsonBody {
    fn length(&self) -> usize {
        self.around.len() + self.value.len()
    }

    fn parts(&self) -> [&[u8]; 3] {
        let (before, after) = self.around.split_at(self.at.min(self.around.len()));
        [before, &self.value, after]
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        self.parts().concat()
    }
}

/// A request to read what one path segment names.
#[derive(Debug)]
pub struct PlainRead<'a> {
    path: &'a str,
    /// The part of the path after the prefix: one segment, encoded.
    pub segment: &'a str,
    headers: &'a [httparse::Header<'a>],
}

impl PlainRead<'_> {
    /// The request target.
    #[must_use]
    pub fn uri(&self) -> Uri {
        Uri::try_from(self.path).unwrap_or_default()
    }

    /// The headers, for the few requests that need them.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let pair = |header: &httparse::Header<'_>| {
            Some((HeaderName::try_from(header.name).ok()?, HeaderValue::from_bytes(header.value).ok()?))
        };
        self.headers.iter().filter_map(pair).collect()
    }
}

/// Plain reads and their handler.
#[derive(Clone)]
pub(crate) struct Lean {
    /// What precedes the segment in the path.
    pub(crate) prefix: &'static str,
    pub(crate) reads: Arc<dyn Reads>,
}

/// How a connection leaves.
pub(crate) enum Left {
    /// The client has ended it, or an order has: the last answer said so.
    Ended,
    /// It continues with hyper, beginning with these bytes.
    General(Bytes),
}

/// What the start of a buffer is.
enum Start<'a> {
    Incomplete,
    General,
    /// A plain read, and the length of its head.
    Read(PlainRead<'a>, usize),
}

impl Lean {
    /// Serves a connection until it leaves.
    pub(crate) async fn serve(
        &self,
        tcp: &TcpStream,
        progress: &Progress,
        overload: &Overload,
        dates: &Dates,
    ) -> IoResult<Left> {
        let (mut buffer, mut in_a_row) = (BytesMut::with_capacity(BUFFER_BYTES), 0);
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let (request, length) = match start(&buffer, self.prefix, &mut headers) {
                Start::Read(request, length) => (request, length),
                Start::General => return Ok(Left::General(buffer.freeze())),
                Start::Incomplete => match more(tcp, progress, &mut buffer).await? {
                    More::Read => continue,
                    More::Closed => return Ok(Left::Ended),
                    // hyper waits for the rest of a head, if there is a part, and closes the connection.
                    More::Drain => return Ok(Left::General(buffer.freeze())),
                },
            };
            let guard = progress.handle();
            let reading = catch_unwind(AssertUnwindSafe(|| self.reads.read(&request)));
            buffer.advance(length);
            let answer = match reading {
                Ok(Reading::Now(answer)) => Ok(answer),
                Ok(Reading::Later(answering)) => AssertUnwindSafe(answering).catch_unwind().await,
                Err(panic) => Err(panic),
            };
            // The panic hook has logged it.
            let answer = answer.unwrap_or_else(|_| Err(Box::new(Problem::internal().into_response())));
            // From here on the connection waits for its client, not for the handler.
            drop(guard);
            // An order that comes while the answer is sent ends the connection in the next round.
            let ends = progress.is_ordered();
            send(tcp, progress, overload, dates, answer, ends).await?;
            if ends {
                end(tcp).await;
                return Ok(Left::Ended);
            }
            in_a_row += 1;
            if in_a_row == TURN {
                in_a_row = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Determines what `buffer` begins with.
fn start<'a>(buffer: &'a [u8], prefix: &str, headers: &'a mut [httparse::Header<'a>]) -> Start<'a> {
    if buffer.is_empty() {
        return Start::Incomplete;
    }
    let mut request = httparse::Request::new(headers);
    let length = match request.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() <= HEAD_MAX_BYTES => return Start::Incomplete,
        _ => return Start::General,
    };
    let (Some("GET"), Some(1), Some(path)) = (request.method, request.version, request.path) else {
        return Start::General;
    };
    let Some(segment) = path.strip_prefix(prefix).filter(|segment| is_segment(segment)) else {
        return Start::General;
    };
    let mut hosts = 0;
    for header in &*request.headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // Most headers do not matter, and their length tells.
        let is_unusual = match header.name.len() {
            4 if is("host") => {
                hosts += 1;
                !host::is_valid(header.value)
            }
            6 => is("expect"),
            7 => is("upgrade"),
            10 => is("connection") && !header.value.eq_ignore_ascii_case(b"keep-alive"),
            14 => is("content-length"),
            17 => is("transfer-encoding"),
            _ => false,
        };
        if is_unusual {
            return Start::General;
        }
    }
    if hosts != 1 {
        return Start::General;
    }
    Start::Read(PlainRead { path, segment, headers: request.headers }, length)
}

/// The segment of a plain read at the start of `buffer`, and the length of its head.
#[cfg(fuzzing)]
pub(crate) fn plain_read(buffer: &[u8], prefix: &str) -> Option<(String, usize)> {
    match start(buffer, prefix, &mut [httparse::EMPTY_HEADER; MAX_HEADERS]) {
        Start::Read(request, length) => Some((request.segment.to_owned(), length)),
        Start::Incomplete | Start::General => None,
    }
}

/// Whether `text` is one path segment that is not empty (`segment-nz`, RFC 3986, section 3.3).
fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@".contains(&byte))
}

enum More {
    Read,
    Closed,
    /// The connection has an order to end.
    Drain,
}

/// Waits for bytes and reads them.
async fn more(tcp: &TcpStream, progress: &Progress, buffer: &mut BytesMut) -> IoResult<More> {
    loop {
        tokio::select! {
            biased;
            readable = poll_fn(|cx| tcp.poll_read_ready(cx)) => readable?,
            _ = progress.ordered(Order::Finish) => {
                // The runtime may not know yet of a request that has arrived.
                let has_arrived = SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|bytes| bytes > 0);
                if !has_arrived {
                    return Ok(More::Drain);
                }
                tcp.readable().await?;
            }
        }
        if buffer.capacity() - buffer.len() < BUFFER_BYTES / 2 {
            buffer.reserve(BUFFER_BYTES);
        }
        match stream::try_read(tcp, buffer, usize::MAX) {
            Ok(0) => return Ok(More::Closed),
            Ok(bytes) => {
                progress.has_read(bytes);
                return Ok(More::Read);
            }
            Err(err) if err.kind() == IoErrorKind::WouldBlock => {}
            Err(err) => return Err(err),
        }
    }
}

/// Sends an answer. `ends` tells the client that the connection ends.
async fn send(
    tcp: &TcpStream,
    progress: &Progress,
    overload: &Overload,
    dates: &Dates,
    answer: ReadAnswer,
    ends: bool,
) -> IoResult<()> {
    let (mut begin, mut body) = begin_and_body(answer).await?;
    // Bytes of a large answer count until the socket has taken the last one.
    let _lease = match body.length() {
        ..SMALL_BYTES => None,
        length => {
            let lease = overload.answer(length, false);
            if lease.is_none() {
                let full = Problem::too_many_answers().into_response();
                (begin, body) = begin_and_body(Err(Box::new(full))).await?;
            }
            lease
        }
    };
    let is_copied = body.length() <= COPIED_MAX_BYTES;
    let mut head = Vec::with_capacity(HEAD_BYTES + if is_copied { body.length() } else { 0 });
    head.extend_from_slice(&begin);
    write!(head, "content-length: {}\r\n", body.length())?;
    head.extend_from_slice(if ends { b"connection: close\r\ndate: " } else { b"date: " });
    head.extend_from_slice(&*dates.now.lock());
    head.extend_from_slice(b"\r\n\r\n");
    let [before, value, after] = body.parts();
    head.extend_from_slice(before);
    if is_copied {
        head.extend_from_slice(value);
        head.extend_from_slice(after);
        return write_all(tcp, progress, &head).await;
    }
    let parts = [&head[..], value, after];
    let written = match tcp.try_write_vectored(&parts.map(IoSlice::new)) {
        Ok(written) => written,
        Err(err) if err.kind() == IoErrorKind::WouldBlock => 0,
        Err(err) => return Err(err),
    };
    progress.has_written(true);
    if written < parts.iter().map(|part| part.len()).sum() {
        // The value may be a part of a shard's answer, whose bytes count elsewhere. A slow client must not hold them.
        let rest = parts.concat().split_off(written);
        drop(body);
        write_all(tcp, progress, &rest).await?;
    }
    Ok(())
}

/// Status line and headers of an answer, without those that every answer has, and its body.
async fn begin_and_body(answer: ReadAnswer) -> IoResult<(Cow<'static, [u8]>, JsonBody)> {
    let response = match answer {
        Ok(json) => return Ok((OK.into(), json)),
        Err(response) => *response,
    };
    let (parts, body) = response.into_parts();
    let value = to_bytes(body, usize::MAX).await.map_err(IoError::other)?;
    let mut begin = Vec::with_capacity(HEAD_BYTES);
    let reason = parts.status.canonical_reason().unwrap_or_default();
    write!(begin, "HTTP/1.1 {} {reason}\r\n", parts.status.as_u16())?;
    for (name, value) in parts.headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            begin.extend_from_slice(part);
        }
    }
    Ok((begin.into(), JsonBody { value, ..JsonBody::default() }))
}

async fn write_all(tcp: &TcpStream, progress: &Progress, bytes: &[u8]) -> IoResult<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match tcp.try_write(rest) {
            Ok(0) => return Err(IoErrorKind::WriteZero.into()),
            Ok(written) => {
                progress.has_written(true);
                rest = rest.get(written..).unwrap_or_default();
            }
            Err(err) if err.kind() == IoErrorKind::WouldBlock => {
                progress.has_written(false);
                tcp.writable().await?;
            }
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Ends a connection after its last answer. A socket that is closed with unread bytes resets the connection, and the
/// client might not receive the answer. So what the client has sent is read and dropped for a short time.
async fn end(tcp: &TcpStream) {
    // Fails only if the connection is already gone.
    let _ = SockRef::from(tcp).shutdown(Shutdown::Write);
    let read = async {
        loop {
            let read = match tcp.readable().await {
                Ok(()) => tcp.try_read(&mut [0; BUFFER_BYTES]),
                Err(err) => Err(err),
            };
            match read {
                Ok(1..) => {}
                Err(err) if err.kind() == IoErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
            }
        }
    };
    // Most clients close at once.
    let _ = tokio::time::timeout(LINGER, read).await;
}

/// The header `date` as it is now, to a second or two.
pub(crate) struct Dates {
    now: Mutex<[u8; 29]>,
}

impl Dates {
    pub(crate) fn new() -> Self {
        let dates = Self { now: Mutex::new([b' '; 29]) };
        dates.renew();
        dates
    }

    /// Call it once a second or more often.
    pub(crate) fn renew(&self) {
        let text = httpdate::fmt_http_date(SystemTime::now());
        if let Ok(text) = text.as_bytes().try_into() {
            *self.now.lock() = text;
        }
    }
}
