//! Bad input gets its documented error; nothing is sent or counted.

use serde_json::json;

use crate::bench::Bench;
use crate::stub::Stub;

#[tokio::test]
async fn bad_input_is_refused_with_its_kind() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    let long = "k".repeat(513);
    let encoded = "%C3%BC".repeat(257);
    let write = |key: &str| json!({"key": key, "value": {}}).to_string();
    let rows: Vec<(&str, String, String, u16, &str)> = vec![
        ("GET", format!("/data/{long}"), String::new(), 400, "bad_key"),
        ("GET", format!("/data/{encoded}"), String::new(), 400, "bad_key"),
        ("GET", "/data/a%00b".into(), String::new(), 400, "bad_key"),
        ("GET", "/data/%FF".into(), String::new(), 400, "bad_key"),
        ("GET", "/data/%C3".into(), String::new(), 400, "bad_key"),
        ("GET", "/data/a%2".into(), String::new(), 400, "bad_key"),
        ("GET", "/data/%zz".into(), String::new(), 400, "bad_key"),
        ("GET", "/data/.".into(), String::new(), 400, "bad_key"),
        ("GET", "/data/..".into(), String::new(), 400, "bad_key"),
        ("GET", "/data/%2e%2E".into(), String::new(), 400, "bad_key"),
        ("GET", "/admin/shard-mapping/..".into(), String::new(), 400, "bad_key"),
        ("GET", format!("/admin/shard-mapping/{long}"), String::new(), 400, "bad_key"),
        ("POST", "/data".into(), write(""), 400, "bad_key"),
        ("POST", "/data".into(), write(&long), 400, "bad_key"),
        ("POST", "/data".into(), write("a\0"), 400, "bad_key"),
        ("POST", "/data".into(), write(".."), 400, "bad_key"),
        ("POST", "/data".into(), String::new(), 400, "bad_body"),
        ("POST", "/data".into(), "{".into(), 400, "bad_body"),
        ("POST", "/data".into(), "[]".into(), 400, "bad_body"),
        ("POST", "/data".into(), r#"{"key":"k"}"#.into(), 400, "bad_body"),
        ("POST", "/data".into(), r#"{"value":{}}"#.into(), 400, "bad_body"),
        ("POST", "/data".into(), r#"{"key":7,"value":{}}"#.into(), 400, "bad_body"),
        ("POST", "/data".into(), r#"{"key":"k","value":"text"}"#.into(), 400, "bad_body"),
        ("POST", "/data".into(), r#"{"key":"k","key":"l","value":{}}"#.into(), 400, "bad_body"),
        ("POST", "/data".into(), "[".repeat(60_000), 400, "bad_body"),
        ("POST", "/data".into(), "x".repeat(64 * 1024 + 1), 413, "body_too_large"),
        ("POST", "/admin/cache".into(), "x".repeat(64 * 1024 + 1), 413, "body_too_large"),
        ("POST", "/admin/cache".into(), "3".into(), 400, "bad_body"),
        ("POST", "/admin/cache".into(), r#"{"enabled":"yes"}"#.into(), 400, "bad_body"),
        ("GET", "/data/".into(), String::new(), 404, "no_such_route"),
        ("GET", "/data/a/b".into(), String::new(), 404, "no_such_route"),
        ("GET", "/data/a/".into(), String::new(), 404, "no_such_route"),
        ("GET", "/admin/shard-mapping/".into(), String::new(), 404, "no_such_route"),
        ("GET", "/nothing".into(), String::new(), 404, "no_such_route"),
        ("POST", "/data/k".into(), String::new(), 405, "method_not_allowed"),
        ("PUT", "/data/k".into(), String::new(), 405, "method_not_allowed"),
        ("DELETE", "/data/k".into(), String::new(), 405, "method_not_allowed"),
        ("OPTIONS", "/data/k".into(), String::new(), 405, "method_not_allowed"),
        ("GET", "/data".into(), String::new(), 405, "method_not_allowed"),
        ("POST", "/stats".into(), String::new(), 405, "method_not_allowed"),
        ("GET", "/admin/cache".into(), String::new(), 405, "method_not_allowed"),
        ("GET", "/admin/reset".into(), String::new(), 405, "method_not_allowed"),
        ("OPTIONS", "/admin/reset".into(), String::new(), 405, "method_not_allowed"),
    ];
    for (method, target, body, status, kind) in rows {
        let answer = bench.exchange(method, &target, &body).await;
        let shown = (method, &target[..target.len().min(60)], &body[..body.len().min(60)]);
        assert_eq!(
            (answer.status, answer.json()["kind"].as_str()),
            (status, Some(kind)),
            "{shown:?}: {answer:?}"
        );
        answer.assert_error(status, kind);
    }
    // An answer to HEAD has no body.
    for path in ["/data/k", "/stats", "/health"] {
        let head = bench.exchange("HEAD", path, "").await;
        assert_eq!((head.status, head.text.as_str()), (405, ""), "{path}");
    }
    let stats = bench.stats().await;
    let counted = ["total_requests", "cache_hits", "cache_misses", "cache_coalesced"];
    assert_eq!(counted.map(|name| stats[name].as_u64().unwrap()), [0; 4]);
    assert_eq!((&stats["top_keys"], stub.count()), (&json!([]), 0));
    let metrics = bench.metrics().await;
    assert!(metrics.iter().all(|(name, n)| !name.starts_with("gateway_requests_total") || *n == 0.0));
    assert!(
        metrics[r#"gateway_errors_total{blame="client",kind="bad_key",shard_id=""}"#] >= 16.0,
        "{metrics:?}"
    );
}

#[tokio::test]
async fn what_is_just_within_the_limits_is_taken() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &[]);
    for segment in ["k".repeat(512), "%C3%BC".repeat(256), "%2F".repeat(512), "...".into(), "%20".into()] {
        let answer = bench.exchange("GET", &format!("/data/{segment}"), "").await;
        assert_eq!(answer.status, 200, "{segment}: {answer:?}");
    }
    let frame = json!({"key": "k", "value": {"t": ""}}).to_string();
    let text = "x".repeat(64 * 1024 - frame.len());
    let body = json!({"key": "k", "value": {"t": text}}).to_string();
    assert_eq!(body.len(), 64 * 1024);
    assert_eq!(bench.exchange("POST", "/data", &body).await.status, 200);
    assert_eq!(stub.count(), 6);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_when_it_comes_in_chunks_too() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &[]);
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let head = "POST /data HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = chunk.repeat(17);
    let answer = bench.raw(format!("{head}{body}0\r\n\r\n").as_bytes()).await;
    answer.assert_error(413, "body_too_large");
    assert_eq!(stub.count(), 0);
}
