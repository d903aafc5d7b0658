//! Every call of the contract's table: status, fields and their types.

use gateway::app::Gateway;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use service::server::Worker;
use service::tasks::Tasks;
use std::collections::BTreeSet;
use tower::ServiceExt;

use crate::bench::{Bench, config, until};
use crate::stub::{self, Stub};

fn fields(body: &Value) -> BTreeSet<&str> {
    body.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn health() {
    let bench = Bench::over(&Stub::honest(0).await, &[]);
    let answer = bench.get("/health").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"status": "ok", "service": "api-gateway"})));
}

#[tokio::test]
async fn get_data_has_the_shards_value_as_it_wrote_it() {
    let text = r#"{"z":1.50,"a":[1, 2],"big":12345678901234567890123,"u":"\u00fc"}"#;
    let stub = Stub::start(|request, _| stub::value(request, 0, text)).await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    for hit in [false, true] {
        let answer = bench.get("/data/user-0").await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(answer.text.contains(text), "{answer:?}");
        let body = answer.json();
        assert_eq!(fields(&body), BTreeSet::from(["key", "value", "shard_id", "cache_hit", "latency_ms"]));
        assert_eq!((&body["key"], &body["shard_id"]), (&json!("user-0"), &json!(0)));
        assert_eq!(body["cache_hit"], json!(hit));
        let latency = body["latency_ms"].as_f64().unwrap();
        assert!(latency >= 0.0 && (latency * 100.0 - (latency * 100.0).round()).abs() < 1e-6, "{latency}");
    }
    assert_eq!(stub.count(), 1);
}

#[tokio::test]
async fn post_data() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &[]);
    // With extra spaces and an unknown field: the shard receives the body as the client sent it.
    let sent = r#"{ "key":"user-0", "value":{"a": 1.0}, "more": [] }"#;
    let answer = bench.post("/data", sent).await;
    let body = answer.json();
    assert_eq!(
        (answer.status, fields(&body)),
        (200, BTreeSet::from(["key", "shard_id", "status", "latency_ms"]))
    );
    assert_eq!(
        (&body["key"], &body["shard_id"], &body["status"]),
        (&json!("user-0"), &json!(0), &json!("stored"))
    );
    assert!(body["latency_ms"].is_f64());
    let request = &stub.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str(), request.body.as_str()),
        ("POST", "/data", sent)
    );
    assert_eq!(bench.read("user-0").await["value"], json!({"a": 1.0}));
}

#[tokio::test]
async fn stats() {
    let bench = Bench::over(&Stub::honest(0).await, &["--cache-enabled"]);
    for key in ["a", "b", "a", "a"] {
        bench.read(key).await;
    }
    bench.write("b", json!({})).await;
    let stats = bench.stats().await;
    let expected = json!({
        "num_shards": 1, "cache_enabled": true, "cache_ttl_seconds": 60, "cache_size": 1,
        "cache_hits": 2, "cache_misses": 2, "cache_coalesced": 0, "cache_hit_ratio": 0.5, "total_requests": 5,
        "started_at": stats["started_at"], "shard_requests": [{"shard_id": 0, "requests": 3}],
        "shard_requests_total": [{"shard_id": 0, "requests": 3}],
        "top_keys": [{"key": "a", "count": 3, "error": 0}, {"key": "b", "count": 2, "error": 0}],
        "placement": "modulo", "breakers": [{"shard_id": 0, "state": "closed", "opened": 0, "refused": 0}], "verdict": stats["verdict"], "mitigation": bench.get("/admin/mitigation").await.json(),
    });
    assert_eq!(stats, expected);
    assert_eq!(stats["verdict"]["state"], "not enough traffic");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let started = stats["started_at"].as_f64().unwrap();
    assert!(started <= now && now - started < 60.0, "{started} {now}");
}

#[tokio::test]
async fn stats_lists_at_most_twenty_keys_most_first() {
    let bench = Bench::over(&Stub::honest(0).await, &["--cache-enabled"]);
    for n in 0..25 {
        for _ in 0..=n {
            bench.read(&format!("k{n}")).await;
        }
    }
    let stats = bench.stats().await;
    let top: Vec<_> =
        stats["top_keys"].as_array().unwrap().iter().map(|top| top["key"].as_str().unwrap()).collect();
    let expected: Vec<_> = (5..25).rev().map(|n| format!("k{n}")).collect();
    assert_eq!(top, expected);
}

#[tokio::test]
async fn shard_mapping() {
    let stubs = [Stub::honest(0).await, Stub::honest(1).await];
    let bench = Bench::at(&[stubs[0].addr, stubs[1].addr], &[]);
    let answer = bench.get("/admin/shard-mapping/user%2F0").await;
    let body = answer.json();
    let shard = usize::try_from(body["shard_id"].as_u64().unwrap()).unwrap();
    let expected = json!({"key": "user/0", "shard_id": shard, "shard_url": format!("http://{}", stubs[shard].addr),
               "replicas": [shard]});
    assert_eq!((answer.status, body), (200, expected));
}

#[tokio::test]
async fn admin_cache_takes_what_curl_sends() {
    let bench = Bench::over(&Stub::honest(0).await, &[]);
    let form = |body: &'static str| {
        let post = bench.client.post(bench.url("/admin/cache"));
        bench.answer(post.header("content-type", "application/x-www-form-urlencoded").body(body))
    };
    let on = form(r#"{"enabled":true,"ttl_seconds":30}"#).await;
    assert_eq!((on.status, on.json()), (200, json!({"cache_enabled": true, "cache_ttl_seconds": 30})));
    // Each field alone, and no field.
    assert_eq!(form("{}").await.json(), json!({"cache_enabled": true, "cache_ttl_seconds": 30}));
    assert_eq!(
        form(r#"{"ttl_seconds":7}"#).await.json(),
        json!({"cache_enabled": true, "cache_ttl_seconds": 7})
    );
    assert_eq!(
        form(r#"{"enabled":false}"#).await.json(),
        json!({"cache_enabled": false, "cache_ttl_seconds": 7})
    );
    // One bad field rejects the whole change, including a good field in the same body.
    form(r#"{"enabled":true,"ttl_seconds":0}"#).await.assert_error(400, "bad_body");
    form("[]").await.assert_error(400, "bad_body");
    assert_eq!(form("{}").await.json(), json!({"cache_enabled": false, "cache_ttl_seconds": 7}));
}

#[tokio::test]
async fn admin_reset() {
    let bench = Bench::over(&Stub::honest(0).await, &[]);
    let answer = bench.post("/admin/reset", "").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"status": "reset"})));
}

#[tokio::test]
async fn the_root_leads_to_the_live_page_or_says_one_line() {
    let stub = Stub::honest(0).await;
    let page = Bench::over(&stub, &["--probe-page-url", "http://localhost:9010/"]).get("/").await;
    assert_eq!((page.status, page.header("location")), (302, Some("http://localhost:9010/")));
    let line = Bench::over(&stub, &[]).get("/").await;
    assert_eq!((line.status, line.text.lines().count()), (200, 1));
}

#[tokio::test]
async fn live_and_ready() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &[]);
    assert_eq!(bench.get("/live").await.status, 200);
    until("it is ready", async || bench.get("/ready").await.status == 200).await;
    // A router that is not yet served is starting: it is alive and not ready.
    let gateway: Gateway = config(&[stub.addr], &[]).build().unwrap();
    let router = gateway.router(&Worker { index: 1, tasks: Tasks::default() });
    for (path, status) in [("/live", 200), ("/ready", 503), ("/health", 200), ("/data/", 404)] {
        let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        if status == 503 {
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body, json!({"detail": "starting", "kind": "not_ready"}));
        }
    }
}
