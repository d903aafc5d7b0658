//! The oracle: applies `httparse`, `http` and hyper's rules to a byte stream.

use probe_common::http::head::{MAX_HEAD, MAX_HEADERS};
use probe_common::key::{self, KeyText};

/// Counts of complete heads, and the state at the end of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) counts: (u32, u32, u32),
    /// The keys of the reads, as sent.
    pub(crate) keys: Vec<Vec<u8>>,
    pub(crate) end: End,
}

/// Whether the parser's key equals the sent one.
pub(crate) fn is(key: &KeyText, sent: &[u8]) -> bool {
    let mut whole = KeyText::default();
    for bytes in sent.chunks(8) {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        whole.append(u64::from_le_bytes(word), bytes.len() as u32);
    }
    whole.end();
    let kept: Vec<u8> = key::kept(&key.words, key.length).collect();
    key.length as usize == sent.len() && sent.ends_with(&kept) && key.hash == whole.hash
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Between two requests.
    Idle,
    /// Inside a head or a body.
    Inside,
    /// Refused.
    Malformed,
    /// After the head of a chunked request.
    Chunked,
    /// After the head of the connection's last request.
    Closed,
    /// At a target that the parser does not judge.
    Target,
}

pub(crate) fn judge(mut bytes: &[u8]) -> Verdict {
    let (mut counts, mut keys) = ((0, 0, 0), Vec::new());
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS as usize];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => {
                // Empty lines before a request do not begin it.
                let empty = bytes.is_empty() || bytes.ends_with(b"\n") && request.method.is_none();
                return Verdict { counts, keys, end: if empty { End::Idle } else { End::Inside } };
            }
            Err(_) => return Verdict { counts, keys, end: End::Malformed },
        };
        let target = request.path.unwrap_or_default();
        if length > MAX_HEAD as usize || http::Uri::try_from(target).is_err() && target.starts_with('/') {
            return Verdict { counts, keys, end: End::Malformed };
        }
        if !target.starts_with('/') && target != "*" {
            return Verdict { counts, keys, end: End::Target };
        }
        let Some(body) = body(request.version, request.headers) else {
            return Verdict { counts, keys, end: End::Malformed };
        };
        match kind(request.method.unwrap_or_default(), target) {
            Kind::Get(key) => {
                counts.0 += 1;
                keys.push(key.as_bytes().to_vec());
            }
            Kind::Set => counts.1 += 1,
            Kind::Control => counts.2 += 1,
        }
        let Body::Length(body) = body else { return Verdict { counts, keys, end: End::Chunked } };
        if closes(request.version, request.headers) {
            return Verdict { counts, keys, end: End::Closed };
        }
        let rest = &bytes[length..];
        if (rest.len() as u64) < body {
            return Verdict { counts, keys, end: End::Inside };
        }
        bytes = &rest[body as usize..];
    }
}

enum Kind<'a> {
    Get(&'a str),
    Set,
    Control,
}

fn kind<'a>(method: &str, target: &'a str) -> Kind<'a> {
    let path = &target[..target.find(['?', '#']).unwrap_or(target.len())];
    match (method, path.strip_prefix("/data/")) {
        ("GET", Some(key)) if !key.is_empty() && !key.contains('/') => Kind::Get(key),
        ("POST", None) if path == "/data" => Kind::Set,
        _ => Kind::Control,
    }
}

enum Body {
    Length(u64),
    Chunked,
}

/// Returns the kind of body, or `None` if hyper refuses the head.
fn body(version: Option<u8>, headers: &[httparse::Header<'_>]) -> Option<Body> {
    let mut length = None;
    let mut chunked = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            let last = tokens(header.value).pop();
            chunked = Some(last.is_some_and(|token| token.eq_ignore_ascii_case("chunked")));
        } else if chunked.is_none() && header.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(header.value).ok()?;
            let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let this = all_digits.then(|| digits.parse::<u64>().ok())??;
            if this > u64::MAX - 2 || length.is_some_and(|length| length != this) {
                return None;
            }
            length = Some(this);
        }
    }
    match chunked {
        None => Some(Body::Length(length.unwrap_or(0))),
        Some(true) if version == Some(1) => Some(Body::Chunked),
        Some(_) => None,
    }
}

/// Whether the connection ends after this request, if its body is not chunked.
fn closes(version: Option<u8>, headers: &[httparse::Header<'_>]) -> bool {
    let says = |wanted: &str| {
        headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("connection"))
            .any(|header| tokens(header.value).iter().any(|token| token.eq_ignore_ascii_case(wanted)))
    };
    says("close") || version == Some(0) && !says("keep-alive")
}

/// Returns the tokens of a list. A list with a non-ASCII byte has none.
fn tokens(value: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    if text.is_ascii() { text.split(',').map(str::trim).collect() } else { Vec::new() }
}
