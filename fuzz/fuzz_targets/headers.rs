//! Headers of requests: `Host` is accepted or refused, and a trace context that is passed on is always a valid one.
//!
//! Input: a header on each line, `name: value`.

#![no_main]

use axum::http::{HeaderMap, HeaderName, HeaderValue, Version};
use libfuzzer_sys::fuzz_target;
use service::fuzzing::{accepts_host, passed_on};

fuzz_target!(|input: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let hosts = headers.get_all("host").iter().count();
    assert!(!accepts_host(Version::HTTP_11, &headers) || hosts == 1);
    assert!(!accepts_host(Version::HTTP_10, &headers) || hosts <= 1);
    let passed = passed_on(&headers);
    assert!(passed.keys().all(|name| matches!(name.as_str(), "traceparent" | "tracestate")));
    assert!(passed.get("traceparent").is_none_or(|value| is_traceparent(value.as_bytes())), "{passed:?}");
    assert!(passed.contains_key("traceparent") || passed.is_empty(), "{passed:?}");
    assert_eq!(passed_on(&passed), passed);
});

/// Whether this is `00-TRACE-SPAN-FLAGS` in lower-case hexadecimal digits.
fn is_traceparent(value: &[u8]) -> bool {
    let digits = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let parts: Vec<&[u8]> = value.split(|byte| *byte == b'-').collect();
    parts.iter().map(|part| part.len()).eq([2, 32, 16, 2]) && parts.iter().all(|part| part.iter().all(digits))
}
