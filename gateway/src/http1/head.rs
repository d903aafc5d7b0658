//! Heads of requests and answers.

use axum::http::{HeaderMap, StatusCode, Uri};

/// Largest number of headers of an answer.
const MAX_HEADERS: usize = 100;

/// The address of a process, `http://host:port`, with the end of every request head to it.
pub(crate) struct Endpoint {
    /// The URL.
    pub(crate) base: Uri,
    /// ` HTTP/1.1`, and the header `host`.
    version_and_host: String,
}

impl Endpoint {
    pub(crate) fn new(base: Uri) -> Self {
        let host = base.authority().map(ToString::to_string).unwrap_or_default();
        Self { base, version_and_host: format!(" HTTP/1.1\r\nhost: {host}\r\n") }
    }

    /// The head of a request without a body. `path` is one or more parts of the request target.
    pub(crate) fn get(&self, path: &[&str], headers: &HeaderMap) -> Vec<u8> {
        let mut head = self.begin("GET ", path, headers);
        head.extend_from_slice(b"\r\n");
        head
    }

    /// The head of a request with a JSON body of `length` bytes.
    pub(crate) fn post(&self, path: &str, headers: &HeaderMap, length: usize) -> Vec<u8> {
        let mut head = self.begin("POST ", &[path], headers);
        let rest = format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        head.extend_from_slice(rest.as_bytes());
        head
    }

    fn begin(&self, method: &str, path: &[&str], headers: &HeaderMap) -> Vec<u8> {
        let mut head = Vec::with_capacity(256);
        head.extend_from_slice(method.as_bytes());
        path.iter().for_each(|part| head.extend_from_slice(part.as_bytes()));
        head.extend_from_slice(self.version_and_host.as_bytes());
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                head.extend_from_slice(part);
            }
        }
        head
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// It has this many bytes.
    Length(usize),
    /// The transfer coding `chunked`.
    Chunked,
    /// It ends with the connection.
    UntilClose,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    pub(crate) framing: Framing,
    /// Whether the connection may carry another request.
    pub(crate) keeps_alive: bool,
    /// `Retry-After` in seconds.
    pub(crate) retry_after: Option<u32>,
}

impl AnswerHead {
    /// Parses the head at the start of `bytes`. Returns its length too, or `None` if it is incomplete.
    ///
    /// # Errors
    /// A short reason, if it is no head of HTTP/1.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(usize, Self)>, String> {
        let mut headers = [const { std::mem::MaybeUninit::uninit() }; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut answer,
            bytes,
            &mut headers,
        );
        let length = match parsed.map_err(|err| err.to_string())? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or("an invalid status")?;
        let (mut content_length, mut is_chunked, mut retry_after) = (None, false, None);
        let mut keeps_alive = answer.version == Some(1);
        for header in answer.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            // Most headers do not matter, and their length tells.
            match header.name.len() {
                14 if is("content-length") => {
                    let length = std::str::from_utf8(header.value).ok().and_then(digits);
                    let length: usize = length.ok_or("an invalid content-length")?;
                    if content_length.replace(length).is_some_and(|earlier| earlier != length) {
                        return Err("two different content-lengths".into());
                    }
                }
                17 if is("transfer-encoding") => {
                    if !header.value.eq_ignore_ascii_case(b"chunked") || is_chunked {
                        return Err("a transfer-encoding other than chunked".into());
                    }
                    is_chunked = true;
                }
                10 if is("connection") => {
                    let mut options = header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                    keeps_alive &= !options.any(|option| option.eq_ignore_ascii_case(b"close"));
                }
                11 if is("retry-after") => {
                    retry_after = std::str::from_utf8(header.value).ok().and_then(|value| value.parse().ok());
                }
                _ => {}
            }
        }
        // RFC 9112, section 6.3.
        let has_no_body = status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        let framing = match content_length {
            _ if has_no_body => Framing::Length(0),
            Some(_) if is_chunked => return Err("both a content-length and a transfer-encoding".into()),
            None if is_chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        };
        keeps_alive &= framing != Framing::UntilClose;
        Ok(Some((length, Self { status, framing, keeps_alive, retry_after })))
    }
}

/// A number of digits only: `parse` would accept a sign.
fn digits(text: &str) -> Option<usize> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn requests_are_as_rfc_9112_wants_them() {
        let endpoint = Endpoint::new(Uri::from_static("http://[::1]:9000"));
        let mut headers = HeaderMap::new();
        assert_eq!(
            endpoint.get(&["/data/", "a%20b"], &headers),
            b"GET /data/a%20b HTTP/1.1\r\nhost: [::1]:9000\r\n\r\n"
        );
        headers.insert("traceparent", HeaderValue::from_static("00-1-2-01"));
        let expected = "POST /data HTTP/1.1\r\nhost: [::1]:9000\r\ntraceparent: 00-1-2-01\r\n\
                        content-type: application/json\r\ncontent-length: 7\r\n\r\n";
        assert_eq!(endpoint.post("/data", &headers, 7), expected.as_bytes());
    }

    fn head(text: &str) -> Result<AnswerHead, String> {
        let whole = format!("HTTP/1.1 {text}\r\n\r\nrest");
        for end in 0..whole.len() - 4 {
            assert!(
                !matches!(AnswerHead::parse(&whole.as_bytes()[..end]), Ok(Some(_))),
                "{end} bytes of {whole:?}"
            );
        }
        AnswerHead::parse(whole.as_bytes()).map(|parsed| {
            let (length, head) = parsed.expect("a whole head");
            assert_eq!(length, whole.len() - 4);
            head
        })
    }

    #[test]
    fn heads_tell_how_the_body_ends_and_whether_the_connection_stays() {
        for (text, framing, keeps_alive) in [
            ("200 OK\r\nContent-Length: 12", Framing::Length(12), true),
            ("200 OK\r\ncontent-length: 3\r\ncontent-length: 3", Framing::Length(3), true),
            ("200 OK\r\ncontent-length: 0\r\nConnection: foo, Close", Framing::Length(0), false),
            ("200 OK\r\nTransfer-Encoding: Chunked", Framing::Chunked, true),
            ("200 OK", Framing::UntilClose, false),
            ("204 No Content", Framing::Length(0), true),
            ("100 Continue", Framing::Length(0), true),
        ] {
            let head = head(text).unwrap();
            assert_eq!((head.framing, head.keeps_alive), (framing, keeps_alive), "{text}");
        }
        let shed = head("503 x\r\nretry-after: 7\r\ncontent-length: 0").unwrap();
        assert_eq!((shed.status.as_u16(), shed.retry_after), (503, Some(7)));
        assert_eq!(head("503 x\r\nretry-after: soon\r\ncontent-length: 0").unwrap().retry_after, None);
        let old = AnswerHead::parse(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap().unwrap().1;
        assert!(!old.keeps_alive);
    }

    #[test]
    fn heads_that_could_be_read_in_two_ways_are_refused() {
        for text in [
            "200 OK\r\ncontent-length: +1",
            "200 OK\r\ncontent-length: 1, 1",
            "200 OK\r\ncontent-length: 99999999999999999999",
            "200 OK\r\ncontent-length: 1\r\ncontent-length: 2",
            "200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked",
            "200 OK\r\ntransfer-encoding: gzip, chunked",
            "200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "20 OK",
        ] {
            assert!(head(text).is_err(), "{text}");
        }
        assert!(AnswerHead::parse(b"nonsense\r\n\r\n").is_err());
    }
}
