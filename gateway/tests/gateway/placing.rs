//! Which shard is asked for a key, and how the key is spelled on the wire.

use crate::bench::Bench;
use crate::stub::Stub;

async fn four() -> (Vec<Stub>, Bench) {
    let mut stubs = Vec::new();
    for id in 0..4 {
        stubs.push(Stub::honest(id).await);
    }
    let addrs: Vec<_> = stubs.iter().map(|stub| stub.addr).collect();
    let bench = Bench::at(&addrs, &["--num-shards", "4"]);
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
        let asked: Vec<_> =
            stubs[shard].asked().iter().rev().take(2).map(|a| (a.method.clone(), a.key())).collect();
        assert_eq!(asked, [("POST".into(), key.into()), ("GET".into(), key.to_owned())]);
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
        let answer = bench.ask("GET", &format!("/data/{written}"), "").await;
        assert_eq!(answer.status, 200, "{written}: {answer:?}");
        assert_eq!(stub.asked().last().unwrap().path, format!("/data/{sent}"));
    }
    // A query is no part of the key.
    assert_eq!(bench.ask("GET", "/data/q?x=1", "").await.json()["key"], "q");
}
