//! The switches of `/admin/mitigation`, and the cache for hot keys only.

use serde_json::{Value, json};
use std::net::SocketAddr;

use crate::bench::{Bench, until};
use crate::stub::Stub;

pub(crate) async fn four() -> (Vec<Stub>, Vec<SocketAddr>) {
    let mut stubs = Vec::new();
    for id in 0..4 {
        stubs.push(Stub::honest(id).await);
    }
    let addrs = stubs.iter().map(|stub| stub.addr).collect();
    (stubs, addrs)
}

impl Bench {
    /// Applies a change, which must succeed. Returns the new state.
    pub(crate) async fn mitigate(&self, change: Value) -> Value {
        let answer = self.post("/admin/mitigation", change.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The present hot keys.
    pub(crate) async fn hot_keys(&self) -> Vec<String> {
        let state = self.get("/admin/mitigation").await.json();
        serde_json::from_value(state["hot_keys"].clone()).unwrap()
    }
}

#[tokio::test]
async fn the_state_is_the_same_wherever_it_is_shown() {
    let bench = Bench::at(&four().await.1, &["--cache-ttl-seconds", "9"]);
    let at_start = bench.get("/admin/mitigation").await.json();
    assert_eq!((&at_start["cache"], &at_start["ttl_seconds"]), (&json!("off"), &json!(9)));
    assert_eq!((&at_start["hot_entries"], &at_start["hot_keys"]), (&json!(6), &json!([])));
    let changed = bench.mitigate(json!({"cache": "hot_only", "stale_while_revalidate": true})).await;
    let mut expected = at_start;
    expected["cache"] = json!("hot_only");
    expected["stale_while_revalidate"] = json!(true);
    assert_eq!(changed, expected);
    assert_eq!(bench.mitigate(json!({})).await, expected);
    let stats = bench.stats().await;
    assert_eq!((&stats["mitigation"], &stats["cache_enabled"]), (&expected, &json!(true)));
    let metrics = bench.metrics().await;
    let named = |name: &str| metrics[name];
    assert_eq!(named(r#"gateway_mitigation_enabled{mitigation="hot_only_cache"}"#), 1.0);
    assert_eq!(named(r#"gateway_mitigation_enabled{mitigation="cache"}"#), 0.0);
    let changes = r#"gateway_mitigation_changes_total{mitigation="hot_only_cache",reason="request"}"#;
    assert_eq!(named(changes), 1.0);
}

#[tokio::test]
async fn the_old_switch_is_the_same_switch() {
    let bench = Bench::over(&Stub::honest(0).await, &[]);
    let mode = async || bench.get("/admin/mitigation").await.json()["cache"].clone();
    assert_eq!(
        bench.cache(r#"{"enabled":true,"ttl_seconds":5}"#).await,
        json!({"cache_enabled": true, "cache_ttl_seconds": 5})
    );
    assert_eq!(mode().await, "all");
    bench.read("k").await;
    assert_eq!(bench.mitigate(json!({"cache": "all"})).await["ttl_seconds"], 5);
    assert_eq!(bench.read("k").await["cache_hit"], true);
    bench.mitigate(json!({"cache": "hot_only"})).await;
    assert_eq!(bench.stat("cache_size").await, 0, "another mode empties it");
    // A change of the time to live only.
    assert_eq!(bench.cache(r#"{"ttl_seconds":7}"#).await["cache_enabled"], true);
    assert_eq!(mode().await, "hot_only");
    bench.cache(r#"{"enabled":false}"#).await;
    assert_eq!(mode().await, "off");
}

#[tokio::test]
async fn a_bad_value_is_named_and_changes_nothing() {
    let bench = Bench::at(&four().await.1, &[]);
    let before = bench.get("/admin/mitigation").await.json();
    for (body, says) in [
        (r#"{"cache":"hot"}"#, "`cache` must be off, all or hot_only, not \"hot\""),
        (r#"{"cache":"all","ttl_seconds":0}"#, "`ttl_seconds` must be an integer from 1 to 86400, not 0"),
        (r#"{"stale_while_revalidate":1}"#, "must be true or false, not 1"),
        ("[]", "must be an object"),
    ] {
        let answer = bench.post("/admin/mitigation", body).await;
        answer.assert_error(400, "bad_body");
        assert!(answer.text.contains(&says.replace('"', "\\\"")), "{body}: {answer:?}");
    }
    assert_eq!(bench.get("/admin/mitigation").await.json(), before);
}

/// Reads six keys 50 times each, among 100 other keys.
async fn read_six_hot(bench: &Bench, tail: usize) {
    for n in 0..60 {
        for hot in 0..6 {
            bench.read(&format!("hot-{hot}")).await;
        }
        bench.read(&format!("cold-{}", (tail * 60 + n) % 300)).await;
    }
}

#[tokio::test]
async fn the_cache_for_hot_keys_holds_the_hot_ones_and_nothing_else() {
    let (stubs, addrs) = four().await;
    let bench = Bench::at(&addrs, &[]);
    bench.mitigate(json!({"cache": "hot_only"})).await;
    let mut round = 0;
    until("six keys are hot", async || {
        read_six_hot(&bench, round).await;
        round += 1;
        bench.hot_keys().await.len() == 6
    })
    .await;
    let mut hot = bench.hot_keys().await;
    hot.sort();
    assert_eq!(hot, (0..6).map(|n| format!("hot-{n}")).collect::<Vec<_>>());
    read_six_hot(&bench, round).await;
    let sent: usize = stubs.iter().map(Stub::count).sum();
    for n in 0..6 {
        assert_eq!(bench.read(&format!("hot-{n}")).await["cache_hit"], true, "hot-{n}");
    }
    assert_eq!(stubs.iter().map(Stub::count).sum::<usize>(), sent);
    for n in 0..20 {
        for _ in 0..2 {
            assert_eq!(bench.read(&format!("cold-{n}")).await["cache_hit"], false, "cold-{n}");
        }
    }
    assert_eq!(bench.stat("cache_size").await, 6);

    // Other keys become hot. They replace the old ones, and there are never more than six.
    until("the newcomers are hot", async || {
        for _ in 0..200 {
            for n in 0..3 {
                bench.read(&format!("new-{n}")).await;
            }
        }
        assert!(bench.stat("cache_size").await <= 6);
        let hot = bench.hot_keys().await;
        (0..3).all(|n| hot.contains(&format!("new-{n}")))
    })
    .await;
    bench.read("new-0").await;
    assert_eq!(bench.read("new-0").await["cache_hit"], true);
    assert!(bench.stat("cache_size").await <= 6);

    bench.post("/admin/reset", "").await;
    assert_eq!((bench.hot_keys().await.len(), bench.stat("cache_size").await), (0, 0));
    assert_eq!(bench.read("new-0").await["cache_hit"], false);
}

const CELEBRITY: &str = "celebrity-user-kardashian";

/// Three of four requests are for the celebrity: all reads, or all writes.
async fn celebrity(bench: &Bench, round: usize, writes: bool) {
    for n in 0..25 {
        for _ in 0..3 {
            if writes {
                bench.write(CELEBRITY, json!({"n": n})).await;
            } else {
                bench.read(CELEBRITY).await;
            }
        }
        bench.read(&format!("user-{}", (round * 25 + n) % 200)).await;
    }
}

#[tokio::test]
async fn auto_caches_a_celebrity_and_keeps_it_though_the_shards_are_cool() {
    let bench = Bench::at(&four().await.1, &[]);
    let off = bench.get("/admin/mitigation").await.json()["auto"].clone();
    assert_eq!(off, json!({"enabled": false, "chosen": null, "reason": null, "since": null}));
    bench.mitigate(json!({"auto": true})).await;
    let (mut round, mut auto) = (0, Value::Null);
    until("it chooses", async || {
        celebrity(&bench, round, false).await;
        round += 1;
        auto = bench.stats().await["mitigation"]["auto"].clone();
        !auto["chosen"].is_null()
    })
    .await;
    assert_eq!((&auto["enabled"], &auto["chosen"]), (&json!(true), &json!("hot_only_cache")));
    let reason = auto["reason"].as_str().unwrap();
    assert!(reason.contains(CELEBRITY) && reason.ends_with("so hot keys are cached."), "{reason}");
    assert!(auto["since"].as_f64().unwrap() > 1.6e9);
    // The cache hides the heat from the shards. `auto` keeps the cache, because it judges the client requests.
    until("the shards are cool", async || {
        celebrity(&bench, round, false).await;
        round += 1;
        let stats = bench.stats().await;
        assert_eq!(stats["mitigation"]["auto"], auto);
        assert_eq!(stats["mitigation"]["cache"], "hot_only");
        let verdict = stats["verdict"]["state"].as_str().unwrap();
        verdict == "balanced" || verdict == "not enough traffic"
    })
    .await;
    let metrics = bench.metrics().await;
    assert_eq!(
        metrics[r#"gateway_mitigation_changes_total{mitigation="hot_only_cache",reason="auto"}"#],
        1.0
    );
    assert_eq!(metrics[r#"gateway_mitigation_enabled{mitigation="auto"}"#], 1.0);

    // A request that sets a value controlled by `auto` ends `auto`, which then reverts its choice.
    let state = bench.mitigate(json!({"ttl_seconds": 30})).await;
    assert_eq!((&state["auto"]["enabled"], &state["cache"]), (&json!(true), &json!("hot_only")));
    let state = bench.mitigate(json!({"replication": 2})).await;
    assert_eq!((&state["auto"], &state["cache"], &state["replication"]), (&off, &json!("off"), &json!(2)));
    let state = bench.mitigate(json!({"cache": "all", "auto": true})).await;
    assert_eq!((&state["auto"]["enabled"], &state["cache"]), (&json!(true), &json!("all")));
    assert_eq!(bench.cache(r#"{"enabled":false}"#).await["cache_enabled"], false);
    assert_eq!(bench.get("/admin/mitigation").await.json()["auto"], off);
}

#[tokio::test]
async fn auto_does_nothing_about_a_key_that_is_only_written() {
    let bench = Bench::at(&four().await.1, &[]);
    bench.mitigate(json!({"auto": true})).await;
    let (mut round, mut auto) = (0, Value::Null);
    until("it has judged", async || {
        celebrity(&bench, round, true).await;
        round += 1;
        auto = bench.stats().await["mitigation"]["auto"].clone();
        !auto["reason"].is_null()
    })
    .await;
    assert!(auto["chosen"].is_null(), "{auto}");
    assert!(auto["reason"].as_str().unwrap().contains("neither a cache nor copies help"), "{auto}");
    let state = bench.get("/admin/mitigation").await.json();
    assert_eq!((&state["cache"], &state["replication"]), (&json!("off"), &json!(1)));
}

async fn what_if(bench: &Bench) -> Value {
    let answer = bench.get("/admin/what-if").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn what_if_ranks_before_anything_is_applied_and_by_what_is_offered() {
    for cache in ["off", "all"] {
        let (stubs, addrs) = four().await;
        let bench = Bench::at(&addrs, &[]);
        bench.mitigate(json!({"cache": cache})).await;
        let quiet = what_if(&bench).await;
        assert_eq!(quiet["options"], json!([]));
        assert!(quiet["note"].as_str().unwrap().starts_with("not enough traffic: 0 requests"), "{quiet}");
        let (mut round, mut found) = (0, Value::Null);
        until("a thousand requests are seen", async || {
            celebrity(&bench, round, false).await;
            round += 1;
            found = what_if(&bench).await;
            found["offered"]["requests"].as_u64().unwrap() >= 1_000
        })
        .await;
        let offered = &found["offered"];
        assert_eq!((&offered["top_key"], &offered["writes"]), (&json!(CELEBRITY), &json!(0)));
        let near = |value: &Value, wanted: f64, by: f64| {
            let value = value.as_f64().unwrap();
            assert!((value - wanted).abs() <= by, "{value} instead of {wanted}: {found}");
        };
        near(&offered["top_key_share"], 0.75, 0.01);
        let options = found["options"].as_array().unwrap();
        let shares: Vec<f64> = options.iter().map(|o| o["hottest_shard_share"].as_f64().unwrap()).collect();
        assert!(shares.is_sorted(), "{shares:?}");
        let mut names: Vec<&str> = options.iter().map(|o| o["mitigation"].as_str().unwrap()).collect();
        assert!(["cache", "hot_only_cache"].contains(&names[0]), "{names:?}");
        names.sort_unstable();
        let expected = "bounded_load cache hot_only_cache jump nothing placement rendezvous replication replication replication";
        assert_eq!(names.join(" "), expected);
        let of = |name: &str| options.iter().find(|o| o["mitigation"] == name).unwrap();
        assert_eq!(of("nothing")["settings"], json!({"placement": "modulo"}));
        for shard in 0..4 {
            near(&of("nothing")["shares"][shard], offered["shares"][shard].as_f64().unwrap(), 1e-9);
        }
        near(&of("nothing")["hottest_shard_share"], 0.75 + 0.25 * 0.25, 0.05);
        near(&of("bounded_load")["hottest_shard_share"], 0.3125, 1e-6);
        for name in ["jump", "rendezvous", "placement"] {
            assert!(of(name)["hottest_shard_share"].as_f64().unwrap() > 0.75, "{name} cannot help");
        }
        let on_all = options.iter().find(|o| o["settings"]["copies"] == 4).unwrap();
        near(&on_all["hottest_shard_share"], 0.25, 0.005);
        // Nothing was applied.
        assert_eq!(bench.get("/admin/mitigation").await.json()["replication"], 1);
        let sent: usize = stubs.iter().map(Stub::count).sum();
        assert_eq!(
            sent as u64 == 100 * round as u64,
            cache == "off",
            "the load is what is offered, not what is sent"
        );
    }
}
