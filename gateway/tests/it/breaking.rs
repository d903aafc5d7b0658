//! Circuit breakers: what opens them, what closes them.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

use crate::bench::{Bench, until};
use crate::stub::{self, Gate, Reply, Stub};

async fn breaker(bench: &Bench, shard: usize) -> Value {
    bench.stats().await["breakers"][shard]["state"].clone()
}

#[tokio::test]
async fn requests_to_a_frozen_shard_fail_at_once_until_it_answers() {
    let (frozen, well) = (Stub::honest(0).await, Stub::honest(1).await);
    let bench =
        Bench::at(&[frozen.addr, well.addr], &["--connect-timeout-ms=200", "--upstream-timeout-ms=1000"]);
    // `user-1` is on shard 1 of 4 and on shard 0 of 2; `user-0` is the other one's.
    let keys = ["user-0", "user-1"];
    let mut homes = Vec::new();
    for key in keys {
        homes.push(bench.read(key).await["shard_id"].as_u64().unwrap());
    }
    let of = |shard: u64| keys[homes.iter().position(|home| *home == shard).unwrap()];
    let (path, other) = (format!("/data/{}", of(0)), of(1));
    frozen.freeze();
    let late = futures_util::future::join_all((0..5).map(|_| bench.get(&path))).await;
    late.iter().for_each(|answer| answer.assert_error(503, "shard_unavailable"));
    assert_eq!(breaker(&bench, 0).await, "open");
    let sent = frozen.count();
    let began = Instant::now();
    for _ in 0..20 {
        bench.get(&path).await.assert_error(503, "shard_unavailable");
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?} for 20, not 20 time-outs", began.elapsed());
    assert_eq!(frozen.count(), sent, "nothing was sent");
    bench.read(other).await;
    assert_eq!(breaker(&bench, 1).await, "closed");
    let metrics = bench.metrics().await;
    assert_eq!(metrics[r#"gateway_shard_breaker_state{shard_id="0"}"#], 2.0);
    assert_eq!(metrics[r#"gateway_shard_breaker_opened_total{shard_id="0"}"#], 1.0);
    assert_eq!(metrics[r#"gateway_shard_breaker_refused_total{shard_id="0"}"#], 20.0);
    let errors = r#"gateway_errors_total{blame="shard",kind="shard_unavailable",shard_id="0"}"#;
    assert_eq!(metrics[errors], 25.0);

    frozen.thaw();
    until("it is read again", async || bench.get(&path).await.status == 200).await;
    assert_eq!(breaker(&bench, 0).await, "closed");
    assert_eq!(bench.stats().await["breakers"][0]["opened"], 1);
}

#[tokio::test]
async fn a_shed_request_never_opens_a_breaker() {
    let shedding = Stub::start(|_, _| Reply::Answer(503, String::new())).await;
    let bench = Bench::over(&shedding, &[]);
    for _ in 0..50 {
        bench.get("/data/k").await.assert_error(503, "shard_unavailable");
    }
    assert_eq!((shedding.count(), breaker(&bench, 0).await), (50, json!("closed")));
}

#[tokio::test]
async fn answers_that_are_reset_open_a_breaker_and_answers_that_break_off_do_not() {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{";
    let resetting = Stub::start(|_, _| Reply::Reset(HALF.to_vec())).await;
    let ending = Stub::start(|_, _| Reply::Raw(HALF.to_vec())).await;
    for (stub, state) in [(&resetting, "open"), (&ending, "closed")] {
        let bench = Bench::over(stub, &[]);
        for _ in 0..5 {
            bench.get("/data/k").await.assert_error(502, "bad_shard_answer");
        }
        assert_eq!(breaker(&bench, 0).await, state);
    }
}

#[tokio::test]
async fn a_retry_opens_a_new_connection() {
    // It closes each connection at the second request, as a shard does whose idle time-out has just passed.
    let gate = Gate::closed();
    let held = gate.clone();
    let stub = Stub::start(move |request, _| match request.earlier {
        0 => held.hold(stub::value(request, 0, "{}")),
        _ => Reply::Cut,
    })
    .await;
    let bench = Bench::over(&stub, &["--workers=1"]);
    let reads = async {
        let reads = ["a", "b", "c"].map(|key| bench.read(key));
        futures_util::future::join_all(reads).await
    };
    let opens = async {
        until("three connections are open", async || stub.count() == 3).await;
        gate.open();
    };
    tokio::join!(reads, opens);
    bench.read("d").await;
    assert_eq!(stub.count(), 5, "a pooled connection, then a new one");
}
