//! Sends requests over one keep-alive HTTP/1.1 connection, one at a time.
//!
//! The pool of a client library repeats a request on a new connection when an idle one turns out to be closed. The
//! generator's counts serve as evidence. So every request is sent once, and every failure is counted as an error.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Timeout for connection and answer together.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of an answer in bytes.
const ANSWER_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Maximum number of headers of an answer.
const MAX_HEADERS: usize = 64;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection could not be opened, or failed.
    #[error("the connection failed: {0}")]
    Connection(#[from] std::io::Error),
    /// The connection was closed before the answer was complete.
    #[error("the connection was closed before the response was complete")]
    Closed,
    /// No answer within the timeout.
    #[error("no response within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// The answer is not HTTP/1.1 with a `Content-Length`.
    #[error("the response is not HTTP/1.1 with a Content-Length")]
    Unreadable,
}

/// A connection to one address. It is opened by the first request and reopened after an error.
pub struct Connection {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// An answer: status and body.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
}

impl Connection {
    /// A connection that is not open yet.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, buffer: Vec::new() }
    }

    /// Sends `request` unchanged and reads the answer.
    ///
    /// # Errors
    /// Returns a [`ClientError`]. The next call opens a new connection.
    pub async fn send(&mut self, request: &[u8]) -> Result<Answer<'_>, ClientError> {
        let exchange = async {
            let stream = match self.stream.take().filter(is_open) {
                Some(stream) => self.stream.insert(stream),
                None => {
                    let stream = TcpStream::connect(self.addr).await?;
                    stream.set_nodelay(true)?;
                    self.stream.insert(stream)
                }
            };
            stream.write_all(request).await?;
            read_answer(stream, &mut self.buffer).await
        };
        match tokio::time::timeout(TIMEOUT, exchange).await.unwrap_or(Err(ClientError::Timeout)) {
            Ok(head) => {
                if head.close {
                    self.stream = None;
                }
                let body = self.buffer.get(head.body_at..head.body_at + head.body_len).unwrap_or_default();
                Ok(Answer { status: head.status, body })
            }
            Err(err) => {
                self.stream = None;
                Err(err)
            }
        }
    }
}

/// Whether an idle connection is open and has no unexpected bytes.
pub(crate) fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(err) if err.kind() == std::io::ErrorKind::WouldBlock)
}

/// The length of the answer at the start of `bytes`, head and body. `None` if it is not complete.
#[must_use]
pub fn answer_length(bytes: &[u8]) -> Option<usize> {
    let head = Head::parse(bytes).ok()??;
    Some(head.body_at + head.body_len).filter(|length| *length <= bytes.len())
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Head, ClientError> {
    buffer.clear();
    let mut head = None;
    loop {
        if head.is_none() {
            head = Head::parse(buffer)?;
        }
        match &head {
            Some(head) if buffer.len() >= head.body_at + head.body_len => return Ok(*head),
            _ if buffer.len() > ANSWER_MAX_BYTES => return Err(ClientError::Unreadable),
            _ => {}
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(ClientError::Closed);
        }
    }
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Where the body begins: the length of the head in bytes.
    pub body_at: usize,
    /// The length of the body in bytes.
    pub body_len: usize,
    close: bool,
}

impl Head {
    /// Parses the head at the start of `bytes`; `None` if it is incomplete.
    ///
    /// # Errors
    /// When it is not HTTP/1.1 with a `Content-Length`.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, ClientError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let unreadable = || ClientError::Unreadable;
        let body_at = match answer.parse(bytes).map_err(|_| unreadable())? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let header = |name: &str| {
            let found = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.and_then(|header| std::str::from_utf8(header.value).ok())
        };
        let status = answer.code.filter(|_| answer.version == Some(1)).ok_or_else(unreadable)?;
        let body_len = header("content-length")
            .and_then(|value| value.parse().ok())
            .filter(|length| *length <= ANSWER_MAX_BYTES)
            .ok_or_else(unreadable)?;
        let close = header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok(Some(Self { status, body_at, body_len, close }))
    }
}

/// Builds a GET request for a path.
#[must_use]
pub fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// Builds a POST request with a JSON body.
#[must_use]
pub fn post(host: &str, path: &str, json: &str) -> Vec<u8> {
    let len = json.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n{json}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves one connection after another: reads one request from each and answers with its bytes.
    async fn server(answers: Vec<Vec<&'static [u8]>>) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for parts in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                for part in parts {
                    let mut request = [0; 1024];
                    if stream.read(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                    stream.write_all(part).await.unwrap();
                }
            }
        });
        addr
    }

    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    #[tokio::test]
    async fn answers_are_read_completely_and_the_connection_is_kept() {
        let addr =
            server(vec![vec![OK, b"HTTP/1.1 503 x\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"]]).await;
        let mut connection = Connection::new(addr);
        assert_eq!(connection.send(b"one").await.unwrap(), Answer { status: 200, body: b"ok" });
        assert_eq!(connection.send(b"two").await.unwrap(), Answer { status: 503, body: b"" });
    }

    #[tokio::test]
    async fn a_broken_answer_is_an_error_and_the_next_request_has_a_new_connection() {
        let addr = server(vec![
            vec![b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"],
            vec![b"nonsense\r\n\r\n"],
            vec![OK],
        ]);
        let mut connection = Connection::new(addr.await);
        assert!(matches!(connection.send(b"one").await, Err(ClientError::Closed)));
        assert!(matches!(connection.send(b"two").await, Err(ClientError::Unreadable)));
        assert_eq!(connection.send(b"three").await.unwrap().status, 200);
    }

    #[tokio::test]
    async fn an_idle_connection_that_was_closed_is_replaced_without_an_error() {
        let addr = server(vec![vec![OK], vec![OK]]).await;
        let mut connection = Connection::new(addr);
        assert_eq!(connection.send(b"one").await.unwrap().status, 200);
        // Waits until the close of the other end has arrived.
        let stream = connection.stream.as_ref().unwrap();
        stream.readable().await.unwrap();
        assert_eq!(connection.send(b"two").await.unwrap().status, 200);
    }

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP";
        assert_eq!((answer_length(answer), answer_length(&answer[..38])), (Some(40), None));
    }

    #[test]
    fn heads_may_arrive_in_pieces() {
        assert_eq!(Head::parse(b"HTTP/1.1 200 OK\r\nContent-Len").unwrap(), None);
        let head =
            Head::parse(b"HTTP/1.1 200 OK\r\nCONTENT-length:  3\r\nconnection: Close\r\n\r\nabc").unwrap();
        assert_eq!(head, Some(Head { status: 200, body_at: 58, body_len: 3, close: true }));
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        let longest = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", usize::MAX);
        assert!(Head::parse(longest.as_bytes()).is_err());
    }
}
