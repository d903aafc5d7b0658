//! Tests rejected requests: status, body, error kind, and exact counts.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options, SHARDS};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends raw bytes on a new connection. Returns the status, and the body if it is JSON.
async fn raw(addr: SocketAddr, request: &[u8]) -> (u16, Option<Value>) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A server that rejects a body may reset the connection after its answer.
    let _ = stream.read_to_end(&mut answer).await;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
    (status, body)
}

fn request(line: &str, body: &str) -> Vec<u8> {
    format!(
        "{line} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Request line, body, expected status, expected kind, and whether it is a data request.
fn cases() -> Vec<(String, String, u16, &'static str, bool)> {
    let get = |path: &str, status, kind, data| (format!("GET {path}"), String::new(), status, kind, data);
    let post = |body: &str, status, kind| ("POST /data".to_owned(), body.to_owned(), status, kind, true);
    vec![
        get("/data/", 404, "no_such_route", false),
        get("/data/a/b", 404, "no_such_route", false),
        get("/nothing", 404, "no_such_route", false),
        get(&format!("/data/{}", "k".repeat(512)), 200, "", true),
        get(&format!("/data/{}", "k".repeat(513)), 400, "bad_key", true),
        get(&format!("/data/{}", "%41".repeat(512)), 200, "", true),
        get("/data/a%00b", 400, "bad_key", true),
        get("/data/%FF%FE", 400, "bad_key", true),
        get("/data/a%2", 400, "bad_key", true),
        get("/data/%2E%2E", 400, "bad_key", true),
        get("/data/a%2Fb%3Fc%23d%25%20e", 200, "", true),
        get("/data/%C3%A4", 200, "", true),
        get("/data/key?query=ignored", 200, "", true),
        ("PUT /data/key".into(), String::new(), 405, "method_not_allowed", false),
        ("DELETE /data".into(), String::new(), 405, "method_not_allowed", false),
        ("POST /data/key".into(), String::new(), 405, "method_not_allowed", false),
        post("", 400, "bad_body"),
        post("{\"key\":", 400, "bad_body"),
        post("[1]", 400, "bad_body"),
        post("{\"key\":1,\"value\":{}}", 400, "bad_body"),
        post("{\"key\":\"k\",\"value\":1}", 400, "bad_body"),
        post("{\"key\":\"\",\"value\":{}}", 400, "bad_key"),
        post(&format!("{{\"key\":\"{}\",\"value\":{{}}}}", "k".repeat(513)), 400, "bad_key"),
        post(
            &format!("{{\"key\":\"k\",\"value\":{{\"pad\":\"{}\"}}}}", "x".repeat(64 * 1024)),
            413,
            "body_too_large",
        ),
        post("{\"key\":\"k\",\"value\":{\"a\":1},\"unknown\":true}", 200, ""),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_its_documented_answer_and_is_counted_by_every_witness() {
    let probe = kernel::available(
        "bad_input_gets_its_documented_answer_and_is_counted_by_every_witness (the kernel's part)",
    );
    let lab = Lab::start(Options { probe, ..Options::default() }).await;
    for (line, body, status, kind, _) in cases() {
        let (got, answer) = raw(lab.gateway_addr(), &request(&line, &body)).await;
        check("gateway", &line, &body, &(got, answer), status, kind);
    }
    if probe {
        lab.agreed().await;
    }
    let app = lab.received().await[1];
    let kernel = if probe { lab.kernel_requests().await[1] } else { 0 };
    let mut data_requests = 0;
    for (line, body, status, kind, data) in cases() {
        let (got, answer) = raw(lab.shard_addrs()[1], &request(&line, &body)).await;
        check("shard", &line, &body, &(got, answer), status, kind);
        data_requests += u64::from(data);
    }
    let stats = lab.shard_stats(1).await;
    assert_eq!(stats.requests_received - app, data_requests);
    let outcomes = stats.requests_served + stats.requests_rejected + stats.requests_shed;
    assert_eq!(stats.requests_received, outcomes + stats.active_requests);
    if probe {
        lab.agreed().await;
        assert_eq!(lab.kernel_requests().await[1] - kernel, data_requests);
    }
    for id in 0..SHARDS {
        assert!(!lab.shards[id].log().contains("a bug"), "{}", lab.shards[id].log());
    }
    assert!(!lab.gateway.log().contains("a bug"), "{}", lab.gateway.log());
}

fn check(at: &str, line: &str, body: &str, got: &(u16, Option<Value>), status: u16, kind: &str) {
    let shown = format!("{at}: {line:.60} {body:.60}: {got:?}");
    assert_eq!(got.0, status, "{shown}");
    if !kind.is_empty() {
        let answer = got.1.as_ref().unwrap_or_else(|| panic!("no JSON body: {shown}"));
        assert_eq!(answer["kind"], kind, "{shown}");
        assert!(answer["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{shown}");
    }
}
