//! What `httparse`, `http` and hyper's rules for bodies and connections make of a byte stream.

use probe_common::head::{MAX_HEAD, MAX_HEADERS};

/// Counts of complete heads, and how the stream ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) counts: (u32, u32, u32),
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Between two requests.
    Idle,
    /// Inside a head or a body.
    Inside,
    /// Refused.
    Malformed,
    /// Behind the head of a chunked request.
    Chunked,
    /// Behind the head of the connection's last request.
    Closed,
    /// At a target that the parser does not judge.
    Target,
}

pub(crate) fn judge(mut bytes: &[u8]) -> Verdict {
    let mut counts = (0, 0, 0);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS as usize];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => {
                // Empty lines before a request are not a request yet.
                let empty = bytes.is_empty() || bytes.ends_with(b"\n") && request.method.is_none();
                return Verdict { counts, end: if empty { End::Idle } else { End::Inside } };
            }
            Err(_) => return Verdict { counts, end: End::Malformed },
        };
        let target = request.path.unwrap_or_default();
        if length > MAX_HEAD as usize || http::Uri::try_from(target).is_err() && target.starts_with('/') {
            return Verdict { counts, end: End::Malformed };
        }
        if !target.starts_with('/') && target != "*" {
            return Verdict { counts, end: End::Target };
        }
        let Some(body) = body(request.version, request.headers) else {
            return Verdict { counts, end: End::Malformed };
        };
        match kind(request.method.unwrap_or_default(), target) {
            Kind::Get => counts.0 += 1,
            Kind::Set => counts.1 += 1,
            Kind::Control => counts.2 += 1,
        }
        let Body::Length(body) = body else { return Verdict { counts, end: End::Chunked } };
        if closes(request.version, request.headers) {
            return Verdict { counts, end: End::Closed };
        }
        let rest = &bytes[length..];
        if (rest.len() as u64) < body {
            return Verdict { counts, end: End::Inside };
        }
        bytes = &rest[body as usize..];
    }
}

enum Kind {
    Get,
    Set,
    Control,
}

fn kind(method: &str, target: &str) -> Kind {
    let path = &target[..target.find(['?', '#']).unwrap_or(target.len())];
    match (method, path.strip_prefix("/data/")) {
        ("GET", Some(key)) if !key.is_empty() && !key.contains('/') => Kind::Get,
        ("POST", None) if path == "/data" => Kind::Set,
        _ => Kind::Control,
    }
}

enum Body {
    Length(u64),
    Chunked,
}

/// `None` where hyper refuses the head.
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

/// Whether the connection ends with this request, if its body is not chunked.
fn closes(version: Option<u8>, headers: &[httparse::Header<'_>]) -> bool {
    let says = |wanted: &str| {
        headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("connection"))
            .any(|header| tokens(header.value).iter().any(|token| token.eq_ignore_ascii_case(wanted)))
    };
    says("close") || version == Some(0) && !says("keep-alive")
}

/// The tokens of a list; none if a byte of it is not ASCII.
fn tokens(value: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(value).unwrap_or_default();
    if text.is_ascii() { text.split(',').map(str::trim).collect() } else { Vec::new() }
}
