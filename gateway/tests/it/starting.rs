//! Readiness: a gateway waits for the first answer of every shard.

use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::bench::{Answer, Bench, until};
use crate::stub::Stub;

/// Time after which a gateway is ready without an answer.
const LIMIT: Duration = Duration::from_secs(10);

async fn ready(bench: &Bench) -> Answer {
    bench.get("/ready").await
}

/// The URL of a key at each of two shards. `user-0` and `user-1` have different homes.
async fn paths(bench: &Bench) -> [String; 2] {
    let mut paths = ["user-0", "user-1"].map(|key| format!("/data/{key}"));
    let home = bench.get("/admin/shard-mapping/user-0").await.json();
    if home["shard_id"] == 1 {
        paths.reverse();
    }
    paths
}

#[tokio::test]
async fn it_is_ready_when_every_shard_has_answered_and_names_those_that_have_not() {
    let (well, silent) = (Stub::honest(0).await, Stub::honest(1).await);
    silent.freeze();
    let options = ["--connect-timeout-ms=100", "--upstream-timeout-ms=200"];
    let bench = Bench::at(&[well.addr, silent.addr], &options);
    until("one shard has answered", async || ready(&bench).await.text.contains("from shard 1")).await;
    let answer = ready(&bench).await;
    answer.assert_error(503, "not_ready");
    assert_eq!(answer.json()["detail"], "no answer yet from shard 1");

    // Requests are served all the same, and five in a row without an answer open the breaker as ever.
    let [first, second] = paths(&bench).await;
    assert_eq!(bench.get(&first).await.status, 200);
    for _ in 0..5 {
        bench.get(&second).await.assert_error(503, "shard_unavailable");
    }
    assert_eq!(bench.stats().await["breakers"][1]["state"], "open");
    // They are no evidence: the first packets to a shard may have been dropped on the way.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let verdict = bench.stats().await["verdict"].clone();
    assert_eq!((&verdict["reason"], &verdict["down"]), (&Value::Null, &Value::Null), "{verdict}");

    silent.thaw();
    until("it is ready", async || ready(&bench).await.status == 200).await;
    until("the breaker is closed", async || bench.get(&second).await.status == 200).await;
    let verdict = bench.stats().await["verdict"].clone();
    assert_eq!(verdict["down"], Value::Null, "{verdict}");
}

#[tokio::test]
async fn checks_count_as_no_request_and_open_no_breaker() {
    // A free port: no process listens on it any more.
    let absent = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let well = Stub::honest(0).await;
    let shards: [SocketAddr; 2] = [well.addr, absent];
    let bench = Bench::at(&shards, &[]);
    let began = Instant::now();
    until("one shard has answered", async || ready(&bench).await.text.contains("from shard 1")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let stats = bench.stats().await;
    assert_eq!((well.count(), &stats["total_requests"]), (0, &json!(0)), "{stats}");
    for (shard, sent) in stats["shard_requests_total"].as_array().unwrap().iter().enumerate() {
        assert_eq!(sent["requests"], 0, "shard {shard}");
        let breaker = json!({"shard_id": shard, "state": "closed", "opened": 0, "refused": 0});
        assert_eq!(stats["breakers"][shard], breaker);
    }
    assert_eq!(stats["verdict"]["down"], Value::Null, "{stats}");
    let metrics = bench.metrics().await;
    let errors: f64 =
        metrics.iter().filter(|(name, _)| name.starts_with("gateway_errors_total")).map(|(_, n)| n).sum();
    assert!(errors.abs() < f64::EPSILON, "{metrics:?}");

    // A shard that is down delays the start, but not for ever.
    until("it is ready", async || ready(&bench).await.status == 200).await;
    let took = began.elapsed();
    assert!(took > LIMIT - Duration::from_secs(1) && took < LIMIT + Duration::from_secs(3), "{took:?}");
}
