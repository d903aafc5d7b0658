//! What `httparse` and hyper's rules for bodies make of a byte stream.

use probe_common::head::MAX_HEADERS;

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
        let Some(body) = body(request.headers) else { return Verdict { counts, end: End::Malformed } };
        match kind(request.method.unwrap_or_default(), request.path.unwrap_or_default()) {
            Kind::Get => counts.0 += 1,
            Kind::Set => counts.1 += 1,
            Kind::Control => counts.2 += 1,
        }
        let Body::Length(body) = body else { return Verdict { counts, end: End::Chunked } };
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
fn body(headers: &[httparse::Header<'_>]) -> Option<Body> {
    let mut length = None;
    let mut chunked = false;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = true;
        } else if header.name.eq_ignore_ascii_case("content-length") {
            let digits = std::str::from_utf8(header.value).ok()?;
            let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let this = all_digits.then(|| digits.parse::<u64>().ok())??;
            // One connection never carries more; see `Head`.
            if this >= 10_000_000_000_000_000_000 || length.is_some_and(|length| length != this) {
                return None;
            }
            length = Some(this);
        }
    }
    Some(if chunked { Body::Chunked } else { Body::Length(length.unwrap_or(0)) })
}
