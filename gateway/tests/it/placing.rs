//! Each key's shard, and the encoding of the key in requests.

use protocol::{Key, ShardId};
use std::num::NonZeroU32;

use crate::bench::{Bench, until};
use crate::stub::{self, Gate, Stub};

async fn four() -> (Vec<Stub>, Bench) {
    four_with(&["--num-shards", "4"]).await
}

async fn four_with(options: &[&str]) -> (Vec<Stub>, Bench) {
    let mut stubs = Vec::new();
    for id in 0..4 {
        stubs.push(Stub::honest(id).await);
    }
    let addrs: Vec<_> = stubs.iter().map(|stub| stub.addr).collect();
    let bench = Bench::at(&addrs, options);
    (stubs, bench)
}

#[tokio::test]
async fn reads_and_writes_go_to_the_keys_shard() {
    let (stubs, bench) = four().await;
    for (key, shard) in [
        ("user-0", 1),
        ("user-1", 0),
        ("user-2", 3),
        ("user-3", 2),
        ("user-100", 1),
        ("test-key", 3),
        ("celebrity-user-kardashian", 0),
    ] {
        assert_eq!(bench.read(key).await["shard_id"], shard, "{key}");
        bench.write(key, serde_json::json!({"a": 1})).await;
        let request: Vec<_> =
            stubs[shard].requests().iter().rev().take(2).map(|a| (a.method.clone(), a.key())).collect();
        assert_eq!(request, [("POST".into(), key.into()), ("GET".into(), key.to_owned())]);
    }
    let sent: usize = stubs.iter().map(Stub::count).sum();
    assert_eq!(sent, 14);
}

#[tokio::test]
async fn keys_are_spelled_canonically_whatever_the_client_wrote() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &[]);
    for (written, sent) in [
        ("a%2Fb%3Fc%23d%25e%20f", "a%2Fb%3Fc%23d%25e%20f"),
        ("a%2fb", "a%2Fb"),
        ("%C3%BC", "%C3%BC"),
        ("%61%2Db", "a-b"),
        ("a+b", "a%2Bb"),
        ("x!$&'()*,;=:@y", "x%21%24%26%27%28%29%2A%2C%3B%3D%3A%40y"),
        ("%2E%2E%2E", "..."),
        ("%252e", "%252e"),
    ] {
        let answer = bench.exchange("GET", &format!("/data/{written}"), "").await;
        assert_eq!(answer.status, 200, "{written}: {answer:?}");
        assert_eq!(stub.requests().last().unwrap().path, format!("/data/{sent}"));
    }
    // A query is not part of the key.
    assert_eq!(bench.exchange("GET", "/data/q?x=1", "").await.json()["key"], "q");
}

#[tokio::test]
async fn other_placements_send_keys_where_they_say() {
    for (name, place) in [
        ("jump", protocol::placement::jump as fn(&Key, NonZeroU32) -> ShardId),
        ("rendezvous", protocol::placement::rendezvous),
        ("bounded", protocol::placement::modulo),
    ] {
        let (stubs, bench) = four_with(&["--placement", name]).await;
        assert_eq!(bench.stats().await["placement"], name);
        for n in 0..40 {
            let key = Key::new(&format!("user-{n}")).unwrap();
            let shard = place(&key, NonZeroU32::new(4).unwrap());
            assert_eq!(bench.read(key.as_str()).await["shard_id"], shard.0, "{name} {key}");
            let mapping = bench.get(&format!("/admin/shard-mapping/{key}")).await.json();
            assert_eq!(mapping["shard_id"], shard.0);
            bench.write(key.as_str(), serde_json::json!({})).await;
            assert_eq!(stubs[shard.index()].requests().last().unwrap().key(), key.as_str());
        }
    }
}

/// Bounded load spreads a hot key's reads to shards that do not hold the key. That is its weakness.
#[tokio::test]
async fn bounded_load_forwards_reads_to_shards_that_do_not_hold_the_key() {
    let gate = Gate::closed();
    let mut stubs = Vec::new();
    for id in 0..4 {
        let held = gate.clone();
        stubs.push(Stub::start(move |request, _| held.hold(stub::value(request, id, "{}"))).await);
    }
    let addrs: Vec<_> = stubs.iter().map(|stub| stub.addr).collect();
    let bench = Bench::at(&addrs, &["--placement=bounded"]);
    let reads: Vec<_> = (0..40)
        .map(|_| tokio::spawn(bench.client.get(bench.url("/data/celebrity-user-kardashian")).send()))
        .collect();
    until("all are under way", async || stubs.iter().map(Stub::count).sum::<usize>() == 40).await;
    // ⌈1.25 · 40 / 4⌉ = 13, plus one for reads that were placed concurrently.
    for stub in &stubs {
        assert!(stub.count() <= 14, "{}", stub.count());
    }
    let elsewhere: usize = stubs[1..].iter().map(Stub::count).sum();
    let forwarded = bench.metrics().await["gateway_bounded_load_forwarded_total"];
    assert!(elsewhere >= 26 && forwarded == elsewhere as f64, "{elsewhere} {forwarded}");
    gate.open();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap().status(), 200);
    }
}
