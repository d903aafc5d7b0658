//! The verdict on the requests sent, in `/stats` and in the metrics.

use serde_json::Value;
use std::net::SocketAddr;

use crate::bench::{Bench, until};
use crate::stub::{self, Gate, Stub};

const CELEBRITY: &str = "celebrity-user-kardashian";

async fn four() -> Vec<SocketAddr> {
    let mut shards = Vec::new();
    for id in 0..4 {
        shards.push(Stub::honest(id).await.addr);
    }
    shards
}

/// Reads these keys in turn until `wanted` accepts the verdict, and returns the verdict. Errors of failed shards are
/// ignored.
async fn read_until(
    bench: &Bench,
    what: &str,
    keys: &[String],
    mut wanted: impl FnMut(&Value) -> bool,
) -> Value {
    let (mut at, mut verdict) = (0, Value::Null);
    until(what, async || {
        for _ in 0..50 {
            bench.get(&format!("/data/{}", keys[at % keys.len()])).await;
            at += 1;
        }
        verdict = bench.stats().await["verdict"].clone();
        wanted(&verdict)
    })
    .await;
    verdict
}

fn users(n: usize) -> Vec<String> {
    (0..n).map(|n| format!("user-{n}")).collect()
}

#[tokio::test]
async fn the_celebrity_is_named_and_a_reset_forgets_it() {
    let bench = Bench::at(&four().await, &[]);
    let quiet = &bench.stats().await["verdict"];
    assert_eq!(quiet["state"], "not enough traffic");
    assert!(quiet["key"].is_null() && quiet["p1"].is_null(), "{quiet}");

    // One read in four is for another key.
    let keys: Vec<String> = users(30)
        .into_iter()
        .flat_map(|user| [CELEBRITY, CELEBRITY, &user, CELEBRITY].map(str::to_owned))
        .collect();
    let verdict = read_until(&bench, "critical", &keys, |verdict| verdict["state"] == "critical").await;
    assert_eq!(
        (&verdict["reason"], &verdict["key"], &verdict["shard_id"]),
        (&"hot_key".into(), &CELEBRITY.into(), &0.into()),
        "{verdict}"
    );
    assert!(
        verdict["n_p1"].as_f64().unwrap() > 2.0 && verdict["requests"].as_u64().unwrap() >= 100,
        "{verdict}"
    );
    assert!(
        verdict["sentence"].as_str().unwrap().contains("Re-hashing or splitting cannot fix this"),
        "{verdict}"
    );

    let metrics = bench.metrics().await;
    assert_eq!(metrics[r#"hot_partition_state{state="critical"}"#], 1.0);
    assert_eq!(metrics[r#"hot_partition_shard{shard_id="0"}"#], 1.0);
    assert!(metrics["hot_partition_lower_bound"] >= 2.0);

    assert_eq!(bench.post("/admin/reset", "").await.status, 200);
    let verdict = &bench.stats().await["verdict"];
    assert_eq!((&verdict["state"], &verdict["requests"]), (&"not enough traffic".into(), &0.into()));
}

#[tokio::test]
async fn even_load_is_balanced() {
    let bench = Bench::at(&four().await, &[]);
    let balanced = |verdict: &Value| verdict["state"] == "balanced";
    let verdict = read_until(&bench, "balanced", &users(1_000), balanced).await;
    assert!(verdict["reason"].is_null() && verdict["max_over_mean"].as_f64().unwrap() < 1.6, "{verdict}");
}

#[tokio::test]
async fn what_the_cache_answers_loads_no_shard() {
    let bench = Bench::at(&four().await, &["--cache-enabled"]);
    let celebrity = [CELEBRITY.to_owned()];
    let mut seen = 0;
    // After 400 reads and several judgements the verdict is the same, because only one request went to a shard.
    read_until(&bench, "400 reads", &celebrity, |verdict| {
        seen += 50;
        assert_eq!(verdict["state"], "not enough traffic", "{verdict}");
        seen >= 400 && verdict["requests"] == 1
    })
    .await;
}

#[tokio::test]
async fn a_shard_that_refuses_is_down() {
    let mut shards = four().await;
    // A free port: no process listens on it any more.
    shards[2] = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = Bench::at(&shards, &[]);
    let verdict =
        read_until(&bench, "down", &users(1_000), |verdict| verdict["reason"] == "shard_down").await;
    assert_eq!((&verdict["state"], &verdict["shard_id"]), (&"warm".into(), &2.into()), "{verdict}");
}

#[tokio::test]
async fn a_hot_key_and_a_dead_shard_are_both_reported() {
    let mut shards = four().await;
    shards[2] = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bench = Bench::at(&shards, &[]);
    let keys: Vec<String> =
        users(30).into_iter().flat_map(|user| [CELEBRITY.to_owned(), user, CELEBRITY.to_owned()]).collect();
    let both = |verdict: &Value| verdict["reason"] == "hot_key" && verdict["down"] == serde_json::json!([2]);
    let verdict = read_until(&bench, "both", &keys, both).await;
    assert_eq!((&verdict["key"], &verdict["shard_id"]), (&CELEBRITY.into(), &0.into()), "{verdict}");
    let metrics = bench.metrics().await;
    for series in ["reason{reason=\"hot_key\"}", "reason{reason=\"shard_down\"}", "shard{shard_id=\"2\"}"] {
        assert_eq!(metrics[&format!("hot_partition_{series}")], 1.0, "{series}");
    }
}

#[tokio::test]
async fn a_request_counts_when_it_is_sent() {
    let gate = Gate::closed();
    let holding = gate.clone();
    let stub = Stub::start(move |request, _| holding.hold(stub::value(request, 0, "{}"))).await;
    let bench = Bench::over(&stub, &[]);
    let (client, url) = (bench.client.clone(), bench.url("/data/k"));
    let reading = tokio::spawn(async move { client.get(url).send().await.unwrap().status() });
    until("the request is sent", async || stub.count() == 1).await;
    let stats = bench.stats().await;
    assert_eq!(stats["shard_requests"][0]["requests"], 1, "before its answer");
    gate.open();
    assert_eq!(reading.await.unwrap(), 200);
    assert_eq!(bench.stats().await["shard_requests"][0]["requests"], 1);
}

#[tokio::test]
async fn its_counts_are_told_in_a_form_that_adds_up() {
    let bench = Bench::at(&four().await, &["--cache-enabled"]);
    let mut keys = users(300);
    keys.extend(["user-7".to_owned(), "user-7".to_owned()]);
    for key in &keys {
        bench.get(&format!("/data/{key}")).await;
    }
    let mut report = Value::Null;
    until("the second is over", async || {
        report = bench.get("/admin/hot-keys").await.json();
        report["ten"]["requests"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>() == 300
    })
    .await;
    assert_eq!(report["requests"], 302);
    let listed = report["keys"].as_array().unwrap();
    // Some keys with one request are not listed. So the bound for the other keys is one.
    assert_eq!((listed.len(), &report["others_at_most"]), (256, &1.into()));
    let hot = serde_json::json!({"key": "user-7", "count": 3, "error": 0});
    assert!(listed.contains(&hot), "{report}");
    // The requests sent, with eight keys per shard. Cache hits are not sent to a shard.
    let sent = report["ten"]["keys"].as_array().unwrap();
    assert_eq!(sent.len(), 4 * 8, "{report}");
    assert!(sent.iter().all(|load| load["requests"] == 1), "{report}");
}

#[tokio::test]
async fn without_key_statistics_requests_are_counted_and_keys_are_not() {
    let shards = four().await;
    let (with, without) = (Bench::at(&shards, &[]), Bench::at(&shards, &["--key-statistics", "off"]));
    let path = format!("/data/{CELEBRITY}");
    let mut reads = 0;
    until("one of them judges", async || {
        for _ in 0..50 {
            without.get(&path).await;
            with.get(&path).await;
            reads += 1;
        }
        with.stats().await["verdict"]["state"] == "critical"
    })
    .await;
    let stats = without.stats().await;
    assert_eq!(stats["total_requests"], reads);
    assert_eq!(stats["top_keys"], Value::Array(Vec::new()));
    assert_eq!(stats["verdict"]["state"], "not enough traffic");
}
