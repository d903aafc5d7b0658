//! One keep-alive HTTP/1.1 connection, one request at a time.
//!
//! A client library's pool repeats a request on a fresh connection when an idle one turns out to be closed. Here the
//! generator is a witness: what it counts as sent was sent once, and whatever fails is an error in its books.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for a connection, and for an answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest answer read, in bytes.
const ANSWER_MAX_BYTES: usize = 2 * 1024 * 1024;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection could not be made, or broke.
    #[error("the connection failed: {0}")]
    Connection(#[from] std::io::Error),
    /// It was closed before the answer was whole.
    #[error("the connection was closed before the answer was whole")]
    Closed,
    /// No answer in time.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Late,
    /// Not HTTP/1.1 with a `Content-Length`.
    #[error("the answer is not HTTP/1.1 with a Content-Length")]
    Unreadable,
}

/// A connection to one address, made when it is first needed and again after an error.
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
    /// A connection that is not made yet.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, buffer: Vec::new() }
    }

    /// Sends `request` as it is and reads the answer.
    ///
    /// # Errors
    /// See [`ClientError`]; the next call makes a new connection.
    pub async fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>, ClientError> {
        let whole = async {
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
        match tokio::time::timeout(DEADLINE, whole).await.unwrap_or(Err(ClientError::Late)) {
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

/// Whether an idle connection can take a request: not closed meanwhile, and nothing unasked for in it.
fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(err) if err.kind() == std::io::ErrorKind::WouldBlock)
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    body_at: usize,
    body_len: usize,
    close: bool,
}

impl Head {
    /// The head at the start of `bytes`; none while it is not whole.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, ClientError> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let unreadable = || ClientError::Unreadable;
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| unreadable())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let (mut body_len, mut close) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body_len = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("connection") {
                close = value.trim().eq_ignore_ascii_case("close");
            }
        }
        let (status, body_len) = status.zip(body_len).ok_or_else(unreadable)?;
        Ok(Some(Self { status, body_at: end + 4, body_len, close }))
    }
}

/// A request for a path, ready to be sent.
#[must_use]
pub fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// A request with a JSON body, ready to be sent.
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

    /// Serves one connection after another: each reads one request and answers with its bytes.
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
    async fn answers_are_read_whole_and_the_connection_is_kept() {
        let addr =
            server(vec![vec![OK, b"HTTP/1.1 503 x\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"]]).await;
        let mut connection = Connection::new(addr);
        assert_eq!(connection.ask(b"one").await.unwrap(), Answer { status: 200, body: b"ok" });
        assert_eq!(connection.ask(b"two").await.unwrap(), Answer { status: 503, body: b"" });
    }

    #[tokio::test]
    async fn a_broken_answer_is_an_error_and_the_next_request_has_a_new_connection() {
        let addr = server(vec![
            vec![b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"],
            vec![b"nonsense\r\n\r\n"],
            vec![OK],
        ]);
        let mut connection = Connection::new(addr.await);
        assert!(matches!(connection.ask(b"one").await, Err(ClientError::Closed)));
        assert!(matches!(connection.ask(b"two").await, Err(ClientError::Unreadable)));
        assert_eq!(connection.ask(b"three").await.unwrap().status, 200);
    }

    #[tokio::test]
    async fn an_idle_connection_that_was_closed_is_replaced_without_an_error() {
        let addr = server(vec![vec![OK], vec![OK]]).await;
        let mut connection = Connection::new(addr);
        assert_eq!(connection.ask(b"one").await.unwrap().status, 200);
        // Until the other end's close has arrived.
        let stream = connection.stream.as_ref().unwrap();
        stream.readable().await.unwrap();
        assert_eq!(connection.ask(b"two").await.unwrap().status, 200);
    }

    #[test]
    fn heads_arrive_in_pieces() {
        assert_eq!(Head::parse(b"HTTP/1.1 200 OK\r\nContent-Len").unwrap(), None);
        let head =
            Head::parse(b"HTTP/1.1 200 OK\r\nCONTENT-length:  3\r\nconnection: Close\r\n\r\nabc").unwrap();
        assert_eq!(head, Some(Head { status: 200, body_at: 58, body_len: 3, close: true }));
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
