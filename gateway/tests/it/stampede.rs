//! Single-flight: all readers of an absent key share one fetch.

use serde_json::{Value, json};

use crate::bench::{Answer, Bench, all, until};
use crate::stub::{self, Gate, MakeReply, Reply, Stub};

/// Sends `n` reads of the hot key at once. `meanwhile` runs when all of them wait.
async fn stampede(bench: &Bench, n: u64, meanwhile: impl FnOnce()) -> Vec<Answer> {
    let requests = (0..n).map(|_| {
        let request = bench.client.get(bench.url("/data/hot"));
        async move {
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Answer { status, headers, text: response.text().await.unwrap() }
        }
    });
    let waiting = async {
        until("all readers wait", async || {
            let stats = bench.stats().await;
            stats["cache_misses"].as_u64().unwrap() + stats["cache_coalesced"].as_u64().unwrap() == n
        })
        .await;
        meanwhile();
    };
    tokio::join!(all(requests), waiting).0
}

fn count(answers: &[Answer], is: impl Fn(&Value) -> bool) -> usize {
    answers.iter().filter(|answer| is(&answer.json())).count()
}

async fn held_readers(n: u64) {
    let gate = Gate::closed();
    let held = gate.clone();
    let stub = Stub::start(move |request, _| held.hold(stub::value(request, 0, r#"{"v":1}"#))).await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    let answers = stampede(&bench, n, || gate.open()).await;
    let readers = usize::try_from(n).unwrap();
    assert_eq!(stub.count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(
        count(&answers, |body| body["value"] == json!({"v": 1}) && body["cache_hit"] == false),
        readers
    );
    assert_eq!(count(&answers, |body| body["coalesced"] == true), readers - 1);
    assert_eq!(count(&answers, |body| body.get("coalesced").is_none()), 1);
    let stats = bench.stats().await;
    let figures = ["cache_hits", "cache_misses", "cache_coalesced", "cache_size", "total_requests"];
    assert_eq!(figures.map(|name| stats[name].as_u64().unwrap()), [0, 1, n - 1, 1, n]);
    assert_eq!(stats["shard_requests"], json!([{"shard_id": 0, "requests": 1}]));
    assert_eq!(bench.metrics().await[r#"gateway_shard_distribution_total{shard_id="0"}"#], 1.0);
}

#[tokio::test]
async fn a_hundred_readers_cause_one_request() {
    held_readers(100).await;
}

#[tokio::test]
async fn a_thousand_readers_cause_one_request() {
    held_readers(1_000).await;
}

#[tokio::test]
async fn a_fast_shard_too_is_asked_once_for_each_key() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    let rounds = 20;
    for round in 0..rounds {
        let requests = (0..100).map(|_| bench.client.get(bench.url(&format!("/data/k{round}"))));
        let answers = all(requests.map(|request| async { request.send().await.unwrap().status() })).await;
        assert!(answers.iter().all(|status| *status == 200));
    }
    assert_eq!(stub.count(), rounds);
    let stats = bench.stats().await;
    let of = |name: &str| stats[name].as_u64().unwrap();
    assert_eq!((of("cache_misses"), of("cache_size")), (rounds as u64, rounds as u64));
    assert_eq!(of("cache_hits") + of("cache_misses") + of("cache_coalesced"), 100 * rounds as u64);
}

#[tokio::test]
async fn the_first_reader_may_hang_up() {
    let gate = Gate::closed();
    let held = gate.clone();
    let stub = Stub::start(move |request, _| held.hold(stub::value(request, 0, r#"{"v":1}"#))).await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    let first = tokio::spawn(bench.client.get(bench.url("/data/hot")).send());
    until("the fetch begins", async || stub.count() == 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let request = bench.client.get(bench.url("/data/hot"));
    let second = tokio::spawn(async move { request.send().await.unwrap().json::<Value>().await.unwrap() });
    until("the second reader waits", async || bench.stat("cache_coalesced").await == 1).await;
    gate.open();
    let second = second.await.unwrap();
    assert_eq!((&second["value"], &second["coalesced"]), (&json!({"v": 1}), &json!(true)));
    assert_eq!((stub.count(), bench.stat("cache_size").await), (1, 1));
}

#[tokio::test]
async fn the_only_reader_may_hang_up_and_the_value_is_kept() {
    let gate = Gate::closed();
    let held = gate.clone();
    let stub = Stub::start(move |request, _| held.hold(stub::value(request, 0, r#"{"v":1}"#))).await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    let only = tokio::spawn(bench.client.get(bench.url("/data/hot")).send());
    until("the fetch begins", async || stub.count() == 1).await;
    only.abort();
    assert!(only.await.unwrap_err().is_cancelled());
    gate.open();
    until("the value is kept", async || bench.stat("cache_size").await == 1).await;
    assert_eq!(bench.read("hot").await["cache_hit"], true);
    assert_eq!(stub.count(), 1);
}

#[tokio::test]
async fn a_failure_reaches_all_readers_and_the_next_one_tries_again() {
    let failures: [(MakeReply, u16, &str); 3] = [
        (|| Reply::Answer(503, String::new()), 503, "shard_unavailable"),
        (|| Reply::Answer(500, String::new()), 502, "bad_shard_answer"),
        (|| Reply::Answer(404, r#"{"detail":"full","kind":"not_found"}"#.into()), 404, "not_found"),
    ];
    for (failure, status, kind) in failures {
        let gate = Gate::closed();
        let held = gate.clone();
        let stub =
            Stub::start(
                move |request, nth| {
                    if nth == 0 { held.hold(failure()) } else { stub::value(request, 0, r#"{"v":2}"#) }
                },
            )
            .await;
        let bench = Bench::over(&stub, &["--cache-enabled"]);
        let answers = stampede(&bench, 100, || gate.open()).await;
        answers.iter().for_each(|answer| answer.assert_error(status, kind));
        assert_eq!((stub.count(), bench.stat("cache_size").await), (1, 0));
        assert_eq!(bench.read("hot").await["value"], json!({"v": 2}));
        assert_eq!(stub.count(), 2);
    }
}

/// A gateway that serves copies with a time to live of one second while it refreshes them. The stub's first answer is
/// immediate. The second is `failure`, if given. All other answers wait for the gate.
async fn refreshing(gate: &Gate, failure: Option<MakeReply>) -> (Stub, Bench) {
    let held = gate.clone();
    let stub = Stub::start(move |request, nth| match (nth, failure) {
        (0, _) => stub::value(request, 0, r#"{"v":0}"#),
        (1, Some(failure)) => failure(),
        _ => held.hold(stub::value(request, 0, &json!({"v": nth}).to_string())),
    })
    .await;
    let bench = Bench::over(&stub, &["--cache-enabled", "--cache-ttl-seconds=1"]);
    bench.mitigate(json!({"stale_while_revalidate": true, "stale_seconds": 3_600})).await;
    (stub, bench)
}

#[tokio::test]
async fn with_stale_while_revalidate_nobody_waits_for_the_one_refresh() {
    let gate = Gate::closed();
    let (stub, bench) = refreshing(&gate, None).await;
    assert_eq!(bench.read("hot").await["value"]["v"], 0);
    until("the copy is past its time", async || bench.read("hot").await["stale"] == true).await;
    // The refresh is held back. A read that waited for it would never get an answer.
    for _ in 0..5 {
        let reads = (0..200).map(|_| {
            let request = bench.client.get(bench.url("/data/hot"));
            async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
        });
        for read in all(reads).await {
            assert_eq!((&read["value"]["v"], &read["cache_hit"]), (&json!(0), &json!(true)));
            assert_eq!((&read["stale"], read.get("coalesced")), (&json!(true), None));
        }
    }
    assert_eq!(stub.count(), 2);
    gate.open();
    until("the new value", async || bench.read("hot").await["value"]["v"] != 0).await;
    let metrics = bench.metrics().await;
    assert!(metrics["gateway_cache_stale_total"] >= 1_000.0, "{metrics:?}");
    assert!(metrics[r#"gateway_cache_refreshes_total{result="stored"}"#] >= 1.0);
    let stats = bench.stats().await;
    assert_eq!((&stats["cache_misses"], &stats["cache_coalesced"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn a_copy_whose_refresh_fails_stays() {
    let failures: [MakeReply; 2] = [|| Reply::Answer(503, String::new()), || Reply::Answer(200, "?".into())];
    for failure in failures {
        let (stub, bench) = refreshing(&Gate::closed(), Some(failure)).await;
        bench.read("hot").await;
        let failed = r#"gateway_cache_refreshes_total{result="failed"}"#;
        until("the refresh fails", async || {
            assert_eq!(bench.read("hot").await["value"]["v"], 0);
            bench.metrics().await[failed] == 1.0
        })
        .await;
        // The next refresh starts a second later. Until it ends, the copy is served.
        until("the next refresh", async || {
            assert_eq!(bench.read("hot").await["value"]["v"], 0);
            stub.count() == 3
        })
        .await;
        assert_eq!(bench.read("hot").await["stale"], true);
    }
}

#[tokio::test]
async fn a_copy_is_served_no_longer_than_its_bound() {
    let gate = Gate::closed();
    let (_, bench) = refreshing(&gate, None).await;
    bench.mitigate(json!({"stale_seconds": 1})).await;
    bench.read("hot").await;
    until("somebody waits for the refresh", async || {
        let request = bench.client.get(bench.url("/data/hot"));
        drop(tokio::spawn(request.send()));
        bench.stat("cache_coalesced").await > 0
    })
    .await;
    gate.open();
    until("the new value", async || bench.read("hot").await["value"]["v"] != 0).await;
}
