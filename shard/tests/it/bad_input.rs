//! Every kind of bad request: status, body, and the counts afterwards.

use serde_json::Value;

use crate::lab::{Lab, head, post};

/// A bad request, its expected answer, and how it is counted.
struct Case {
    name: &'static str,
    request: Vec<u8>,
    status: u16,
    kind: &'static str,
    data_request: bool,
}

fn data(name: &'static str, request: Vec<u8>, status: u16, kind: &'static str) -> Case {
    Case { name, request, status, kind, data_request: true }
}

fn other(name: &'static str, request: Vec<u8>, status: u16, kind: &'static str) -> Case {
    Case { name, request, status, kind, data_request: false }
}

fn key_in_path(segment: &str) -> Vec<u8> {
    head("GET", &format!("/data/{segment}"))
}

fn key_in_body(key: &str) -> Vec<u8> {
    post("/data", &serde_json::json!({"key": key, "value": {}}).to_string())
}

/// A valid body, padded with spaces to this size.
fn body_of(bytes: usize) -> String {
    let body = r#"{"key":"k","value":{}}"#;
    body.to_owned() + &" ".repeat(bytes - body.len())
}

fn cases() -> Vec<Case> {
    vec![
        other("no key", head("GET", "/data/"), 404, "no_such_route"),
        other("no slash", head("GET", "/data"), 405, "method_not_allowed"),
        data("no Host", b"GET /data/k HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(), 400, "bad_request"),
        data("two Hosts", head("GET", "/data/k HTTP/1.1\r\nHost: y\r\nX:"), 400, "bad_request"),
        data(
            "bad Host",
            b"GET /data/k HTTP/1.1\r\nHost: a b/c\r\nConnection: close\r\n\r\n".to_vec(),
            400,
            "bad_request",
        ),
        other(
            "no Host elsewhere",
            b"GET /stats HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(),
            400,
            "bad_request",
        ),
        data("key of 513 bytes", key_in_path(&"k".repeat(513)), 400, "bad_key"),
        data("key of 257 two-byte characters", key_in_path(&"%C3%BC".repeat(257)), 400, "bad_key"),
        data("NUL in a key", key_in_path("a%00b"), 400, "bad_key"),
        data("not UTF-8", key_in_path("%FF"), 400, "bad_key"),
        data("broken escape", key_in_path("a%2"), 400, "bad_key"),
        data("dot", key_in_path("."), 400, "bad_key"),
        data("encoded dots", key_in_path("%2E%2e"), 400, "bad_key"),
        other("slash in a key, not encoded", key_in_path("a/b"), 404, "no_such_route"),
        data("empty key in a body", key_in_body(""), 400, "bad_key"),
        data("key of 513 bytes in a body", key_in_body(&"k".repeat(513)), 400, "bad_key"),
        data("NUL in a body's key", key_in_body("a\0"), 400, "bad_key"),
        data("dots in a body's key", key_in_body(".."), 400, "bad_key"),
        data("no body", post("/data", ""), 400, "bad_body"),
        data("broken JSON", post("/data", r#"{"key":"k","#), 400, "bad_body"),
        data("not an object", post("/data", "[1]"), 400, "bad_body"),
        data("key of a wrong type", post("/data", r#"{"key":1,"value":{}}"#), 400, "bad_body"),
        data("value of a wrong type", post("/data", r#"{"key":"k","value":"v"}"#), 400, "bad_body"),
        data("value missing", post("/data", r#"{"key":"k"}"#), 400, "bad_body"),
        data("body of 64 KiB + 1", post("/data", &body_of(64 * 1024 + 1)), 413, "body_too_large"),
        other("unknown route", head("GET", "/nowhere"), 404, "no_such_route"),
        other("unknown method", head("BREW", "/data/k"), 405, "method_not_allowed"),
        other("HEAD", head("HEAD", "/data/k"), 405, ""),
        other("DELETE", head("DELETE", "/data/k"), 405, "method_not_allowed"),
        other("write to a key's path", post("/data/k", "{}"), 405, "method_not_allowed"),
        other("GET of an admin path", head("GET", "/admin/reset"), 405, "method_not_allowed"),
        other("POST to stats", post("/stats", ""), 405, "method_not_allowed"),
        other("absolute form", head("GET", "http://x/data/k"), 400, "bad_request"),
    ]
}

#[test]
fn bad_requests_are_answered_as_documented_and_booked_once() {
    let lab = Lab::start(&[]);
    let mut received = 0;
    for case in cases() {
        let answer = lab.exchange(&case.request);
        assert_eq!(answer.status, case.status, "{}: {answer:?}", case.name);
        if !case.kind.is_empty() {
            let body = answer.json();
            assert_eq!(body["kind"], case.kind, "{}", case.name);
            assert!(
                body["detail"].as_str().is_some_and(|d| !d.is_empty() && !d.contains('\n')),
                "{}",
                case.name
            );
            assert_eq!(body.as_object().map(serde_json::Map::len), Some(2), "{}", case.name);
        }
        received += u64::from(case.data_request);
        let stats = lab.stats();
        let books =
            (stats.requests_received, stats.requests_served, stats.requests_rejected, stats.requests_shed);
        assert_eq!(books, (received, 0, received, 0), "{}", case.name);
        assert_eq!(
            (stats.total_accesses, stats.top_keys.len(), stats.total_keys),
            (0, 0, 0),
            "{}",
            case.name
        );
    }
}

#[test]
fn an_absolute_form_write_is_refused_and_not_a_data_request() {
    let lab = Lab::start(&[]);
    let answer = lab.exchange(&post("http://x/data", r#"{"key":"k","value":{}}"#));
    assert_eq!((answer.status, answer.json()["kind"].as_str()), (400, Some("bad_request")));
    assert_eq!(lab.stats().requests_received, 0);
}

#[test]
fn a_body_that_is_not_utf8_or_breaks_off_is_a_bad_body() {
    let lab = Lab::start(&[]);
    let mut request = post("/data", r#"{"key":"k","value":{"v":"?"}}"#);
    let at = request.iter().rposition(|b| *b == b'?').unwrap();
    request[at] = 0xFF;
    let answer = lab.exchange(&request);
    assert_eq!((answer.status, answer.json()["kind"].as_str()), (400, Some("bad_body")));
    let stats = lab.stats();
    assert_eq!((stats.requests_received, stats.requests_rejected), (1, 1));
}

#[test]
fn what_is_just_allowed_is_served() {
    let lab = Lab::start(&[]);
    for (name, request) in [
        ("key of 512 bytes", key_in_path(&"k".repeat(512))),
        ("key of 512 encoded bytes", key_in_path(&"%6B".repeat(512))),
        ("encoded slash", key_in_path("a%2Fb")),
        ("encoded ?, # and %", key_in_path("%3F%23%25")),
        ("dots among others", key_in_path("...")),
        ("body of 64 KiB", post("/data", &body_of(64 * 1024))),
    ] {
        let answer = lab.exchange(&request);
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
    }
    let stats = lab.stats();
    assert_eq!((stats.requests_received, stats.requests_served), (6, 6));
    let top: Value = lab.get("/stats").json()["top_keys"].clone();
    assert_eq!(top[0]["count"], 2, "both spellings of the long key are one key: {top}");
}
