//! Checks the `Host` header of a request (RFC 9112, section 3.2).

use axum::http::{HeaderMap, Version, header};
use protocol::ErrorKind;

use crate::problem::Problem;

/// Refuses a request with two `Host` headers or an invalid one. From HTTP/1.1 on it also refuses a request without
/// one.
///
/// # Errors
/// Returns 400.
pub(crate) fn check(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let problem = match (hosts.next(), hosts.next()) {
        (None, _) if version <= Version::HTTP_10 => return Ok(()),
        (None, _) => "an HTTP/1.1 request must have a Host header",
        (Some(host), None) if is_valid(host.as_bytes()) => return Ok(()),
        (Some(_), None) => "the Host header must be host[:port]",
        (Some(_), Some(_)) => "a request must have one Host header",
    };
    Err(Problem::new(ErrorKind::BadRequest, problem))
}

/// Whether `text` is `uri-host [ ":" port ]` of RFC 3986. Both may be empty.
pub(crate) fn is_valid(text: &[u8]) -> bool {
    let (host, rest) = match text.iter().position(|byte| *byte == b']') {
        Some(end) if text.starts_with(b"[") => (&text[1..end], &text[end + 1..]),
        _ => text.split_at(text.iter().position(|byte| *byte == b':').unwrap_or(text.len())),
    };
    let is_literal = text.starts_with(b"[");
    let allowed = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(byte) || (is_literal && *byte == b':')
    };
    let port = rest.strip_prefix(b":").unwrap_or(rest);
    host.iter().all(allowed)
        && (rest.is_empty() || rest.starts_with(b":"))
        && port.iter().all(u8::is_ascii_digit)
        && !(is_literal && host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn accepts(version: Version, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        check(version, &headers).is_ok()
    }

    #[test]
    fn one_valid_host_is_needed_from_http_1_1_on() {
        for host in ["x", "x:80", "x:", "", "127.0.0.1:9000", "[::1]", "[::1]:80", "a_b.example", "%61"] {
            assert!(accepts(Version::HTTP_11, &[host]), "{host}");
        }
        for host in
            ["a b", "a/b", "a b/c", "u@x", "x:y", "x:80:80", "[::1", "::1", "[]", "[::1]x", "ü", "a?b", "a#b"]
        {
            assert!(!accepts(Version::HTTP_11, &[host]), "{host}");
            assert!(!accepts(Version::HTTP_10, &[host]), "{host}");
        }
        assert!(accepts(Version::HTTP_10, &[]) && !accepts(Version::HTTP_11, &[]));
        assert!(!accepts(Version::HTTP_11, &["x", "x"]) && !accepts(Version::HTTP_10, &["x", "y"]));
    }
}
