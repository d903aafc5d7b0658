//! Several gateways with the same switches.

use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::bench::{Bench, SOON, until};
use crate::stub::Stub;

/// Addresses of gateways that share their settings. Each port is free until its gateway starts.
struct Group {
    shards: Vec<SocketAddr>,
    ports: Vec<u16>,
    urls: String,
}

impl Group {
    async fn of(count: usize) -> Self {
        let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> =
            listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        let urls: Vec<_> = ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        Self { shards: vec![Stub::honest(0).await.addr], ports, urls: urls.join(",") }
    }

    fn start(&self, index: usize) -> Bench {
        let port = format!("--port={}", self.ports[index]);
        Bench::at(&self.shards, &[&port, &format!("--peer-url={}", self.urls)])
    }

    fn url(&self, index: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[index])
    }
}

async fn mitigation(bench: &Bench) -> Value {
    bench.get("/admin/mitigation").await.json()
}

fn holds(holding: usize, known: usize) -> Value {
    json!({"holding": holding, "known": known, "failed": []})
}

#[tokio::test]
async fn a_change_at_one_gateway_holds_at_all_when_it_is_answered() {
    let group = Group::of(3).await;
    let benches = [group.start(0), group.start(1), group.start(2)];
    let answer = benches[0].mitigate(json!({"cache": "hot_only", "stale_seconds": 7})).await;
    assert_eq!(answer["gateways"], holds(3, 3), "{answer}");
    let answer = benches[1].cache(r#"{"ttl_seconds":9}"#).await;
    let expected = json!({"cache_enabled": true, "cache_ttl_seconds": 9, "gateways": holds(3, 3)});
    assert_eq!(answer, expected);
    for bench in &benches {
        let state = mitigation(bench).await;
        let shown = (&state["cache"], &state["stale_seconds"], &state["ttl_seconds"]);
        assert_eq!(shown, (&json!("hot_only"), &json!(7), &json!(9)), "{state}");
        assert_eq!(bench.stats().await["mitigation"]["cache"], "hot_only");
    }
    let changes = r#"gateway_mitigation_changes_total{mitigation="hot_only_cache",reason="peer"}"#;
    assert_eq!(benches[0].metrics().await[changes], 0.0);
    for bench in &benches[1..] {
        assert_eq!(bench.metrics().await[changes], 1.0);
    }
    until("all know that it holds everywhere", async || {
        let mut all = true;
        for bench in &benches {
            all &= mitigation(bench).await["gateways"] == holds(3, 3);
            all &= bench.metrics().await[r#"gateway_peers{holds="true"}"#] == 2.0;
        }
        all
    })
    .await;
}

#[tokio::test]
async fn a_reset_reaches_all_gateways() {
    let group = Group::of(2).await;
    let benches = [group.start(0), group.start(1)];
    benches[0].cache(r#"{"enabled":true}"#).await;
    for bench in &benches {
        bench.read("k").await;
    }
    let answer = benches[1].post("/admin/reset", "").await.json();
    assert_eq!(answer, json!({"status": "reset", "gateways": holds(2, 2)}));
    for bench in &benches {
        let stats = bench.stats().await;
        assert_eq!((&stats["total_requests"], &stats["cache_size"]), (&json!(0), &json!(0)), "{stats}");
        assert_eq!(stats["cache_enabled"], true);
    }
    // A gateway that starts later has nothing to reset, and keeps what it counts from then on.
    let [first, second] = benches;
    assert_eq!(second.stop(SOON).await, Vec::<String>::new());
    let second = group.start(1);
    second.read("k").await;
    assert_eq!(first.cache("{}").await["gateways"]["holding"], 2);
    assert_eq!(second.stat("total_requests").await, 1);
}

#[tokio::test]
async fn a_gateway_that_does_not_run_is_named_and_has_the_settings_when_it_starts() {
    let group = Group::of(3).await;
    let (one, two) = (group.start(0), group.start(1));
    let answer = one.cache(r#"{"enabled":true,"ttl_seconds":9}"#).await;
    let failed = json!([{"url": group.url(2), "problem": "no connection"}]);
    assert_eq!(answer["gateways"], json!({"holding": 2, "known": 3, "failed": failed}));
    let three = group.start(2);
    let state = mitigation(&three).await;
    assert_eq!((&state["cache"], &state["ttl_seconds"]), (&json!("all"), &json!(9)), "{state}");
    assert_eq!(one.mitigate(json!({"cache": "off"})).await["gateways"], holds(3, 3));
    assert_eq!(mitigation(&two).await["cache"], "off");
    assert!(one.metrics().await[r#"gateway_peer_exchanges_total{result="failed"}"#] >= 1.0);
}

#[tokio::test]
async fn a_gateway_without_answer_delays_neither_the_start_nor_a_change_for_long() {
    let group = Group::of(2).await;
    // A peer that accepts connections and never answers.
    let silent = TcpListener::bind(("127.0.0.1", group.ports[1])).unwrap();
    let began = Instant::now();
    let bench = group.start(0);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    until("it is ready", async || bench.get("/ready").await.status == 200).await;
    let began = Instant::now();
    let answer = bench.cache(r#"{"enabled":true}"#).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let failed = json!([{"url": group.url(1), "problem": "no answer within 1 s"}]);
    assert_eq!(answer["gateways"], json!({"holding": 1, "known": 2, "failed": failed}));
    drop(silent);
}

#[tokio::test]
async fn the_newer_setting_wins_and_a_hand_ends_auto_everywhere() {
    let group = Group::of(2).await;
    let benches = [group.start(0), group.start(1)];
    benches[0].mitigate(json!({"auto": true, "replicated_keys": 3})).await;
    assert_eq!(mitigation(&benches[1]).await["auto"]["enabled"], true);
    benches[1].mitigate(json!({"cache": "off"})).await;
    for bench in &benches {
        let state = mitigation(bench).await;
        assert_eq!((&state["auto"]["enabled"], &state["replicated_keys"]), (&json!(false), &json!(3)));
    }
}

#[tokio::test]
async fn settings_of_another_gateway_are_taken_over_if_they_are_newer_and_valid() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &[]);
    let now = service::clock::unix_milliseconds();
    let exchange = async |name: &str, value: Value, time_ms: u64| {
        let settings = json!({name: {"value": value, "time_ms": time_ms, "gateway": 7}});
        bench.post("/admin/peers", json!({"gateway": 7, "settings": settings}).to_string()).await
    };
    let answer = exchange("cache", json!("all"), now).await;
    assert_eq!(answer.json()["settings"]["cache"], json!({"value": "all", "time_ms": now, "gateway": 7}));
    assert_eq!(mitigation(&bench).await["cache"], "all");
    assert_eq!(exchange("cache", json!("off"), now - 1).await.json()["settings"]["cache"]["value"], "all");
    bench.cache(r#"{"enabled":false}"#).await;
    assert_eq!(exchange("cache", json!("all"), now).await.json()["settings"]["cache"]["value"], "off");
    for (name, value, time_ms) in [
        ("replication", json!(2), now + 1),
        ("cache", json!("all"), now + 100_000_000),
        ("reset", json!(0), now + 1),
    ] {
        exchange(name, value, time_ms).await.assert_error(400, "bad_body");
    }
    bench.post("/admin/peers", "[]").await.assert_error(400, "bad_body");
    bench.post("/admin/peers", " ".repeat(70_000)).await.assert_error(413, "body_too_large");
    let page = bench.client.post(bench.url("/admin/peers")).header("origin", "http://foreign.example");
    bench.answer(page.body("{}")).await.assert_error(403, "origin_not_allowed");
    let state = mitigation(&bench).await;
    assert_eq!((&state["cache"], state.get("gateways")), (&json!("off"), None), "{state}");
}
