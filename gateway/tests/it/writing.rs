//! A write leaves no older copy behind, whatever the order of reads.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bench::{Bench, until};
use crate::stub::{self, Gate, MakeReply, Reply, Stub};

#[tokio::test]
async fn the_copy_is_gone_when_the_write_answers() {
    let stub = Stub::honest(0).await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    bench.write("k", json!({"v": 1})).await;
    assert_eq!(bench.read("k").await["value"], json!({"v": 1}));
    assert_eq!(bench.read("k").await["cache_hit"], true);
    bench.write("k", json!({"v": 2})).await;
    assert_eq!(bench.stat("cache_size").await, 0);
    let read = bench.read("k").await;
    assert_eq!((&read["value"], &read["cache_hit"]), (&json!({"v": 2}), &json!(false)));
}

#[tokio::test]
async fn a_fetch_that_a_write_overtakes_is_neither_joined_nor_kept() {
    let gate = Gate::closed();
    let held = gate.clone();
    let stub = Stub::start(move |request, nth| match (request.method.as_str(), nth) {
        ("POST", _) => stub::stored(request, 0),
        (_, 0) => held.hold(stub::value(request, 0, r#"{"v":"old"}"#)),
        _ => stub::value(request, 0, r#"{"v":"new"}"#),
    })
    .await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    let overtaking = async {
        until("the slow fetch begins", async || stub.count() == 1).await;
        bench.write("k", json!({"v": "new"})).await;
        // The slow fetch is still in progress. A read that joined it would wait for the gate.
        let after = bench.read("k").await;
        assert_eq!((&after["value"]["v"], after.get("coalesced")), (&json!("new"), None));
        gate.open();
    };
    let (slow, ()) = tokio::join!(bench.read("k"), overtaking);
    assert_eq!(slow["value"]["v"], "old", "it began before the write and may see what was");
    let hit = bench.read("k").await;
    assert_eq!((&hit["value"]["v"], &hit["cache_hit"]), (&json!("new"), &json!(true)));
    assert_eq!(stub.count(), 3);
}

#[tokio::test]
async fn a_write_that_lasts_takes_what_was_fetched_meanwhile() {
    let gate = Gate::closed();
    let held = gate.clone();
    let stub = Stub::start(move |request, nth| match (request.method.as_str(), nth) {
        ("POST", _) => held.hold(stub::stored(request, 0)),
        (_, 1) => stub::value(request, 0, r#"{"v":"old"}"#),
        _ => stub::value(request, 0, r#"{"v":"new"}"#),
    })
    .await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    let meanwhile = async {
        until("the write begins", async || stub.count() == 1).await;
        assert_eq!(bench.read("k").await["value"]["v"], "old");
        assert_eq!(bench.read("k").await["cache_hit"], true);
        gate.open();
    };
    tokio::join!(bench.write("k", json!({"v": "new"})), meanwhile);
    assert_eq!(bench.read("k").await["value"]["v"], "new");
}

#[tokio::test]
async fn a_write_whose_client_goes_away_takes_the_copy_too() {
    let gate = Gate::closed();
    let held = gate.clone();
    let stub = Stub::start(move |request, _| match request.method.as_str() {
        "POST" => held.hold(stub::stored(request, 0)),
        _ => stub::value(request, 0, "{}"),
    })
    .await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    bench.read("k").await;
    let write = tokio::spawn(bench.client.post(bench.url("/data")).body(r#"{"key":"k","value":{}}"#).send());
    until("the write begins", async || stub.count() == 2).await;
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    assert_eq!(bench.stat("cache_size").await, 1);
    gate.open();
    until("the copy goes", async || bench.stat("cache_size").await == 0).await;
}

#[tokio::test]
async fn a_write_of_unknown_outcome_takes_the_copy_and_is_not_repeated() {
    let outcomes: [(MakeReply, u16, &str); 4] = [
        (|| Reply::Cut, 503, "shard_unavailable"),
        (|| Gate::closed().hold(Reply::Cut), 503, "shard_unavailable"),
        (|| Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".into()), 502, "bad_shard_answer"),
        (|| Reply::Raw(b"garbage\r\n\r\n".into()), 502, "bad_shard_answer"),
    ];
    for (outcome, status, kind) in outcomes {
        let stub = Stub::start(move |request, _| match request.method.as_str() {
            "POST" => outcome(),
            _ => stub::value(request, 0, "{}"),
        })
        .await;
        let bench = Bench::over(&stub, &["--cache-enabled", "--upstream-timeout-ms=2000"]);
        bench.read("k").await;
        assert_eq!(bench.stat("cache_size").await, 1);
        bench.post("/data", r#"{"key":"k","value":{}}"#).await.assert_error(status, kind);
        assert_eq!(bench.stat("cache_size").await, 0);
        let writes = stub.requests().iter().filter(|request| request.method == "POST").count();
        assert_eq!(writes, 1, "a write is never sent twice");
        assert_eq!(bench.read("k").await["cache_hit"], false);
    }
}

/// The stub's answers are delayed at random, so that fetches and writes overlap in many orders. No read that begins
/// after a write was answered may return an older version.
#[tokio::test]
async fn no_read_after_a_write_is_older_than_it_in_many_interleavings() {
    const KEYS: usize = 4;
    const WRITES: u64 = 150;
    let store: Mutex<[u64; KEYS]> = Mutex::new([0; KEYS]);
    let late = Mutex::new(Vec::<Gate>::new());
    let gates = Arc::new(late);
    let kept = Arc::clone(&gates);
    let stub = Stub::start(move |request, nth| {
        let key = request.key();
        let at: usize = key[1..].parse().unwrap();
        let mut store = store.lock().unwrap();
        let reply = if request.method == "POST" {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            store[at] = body["value"]["v"].as_u64().unwrap();
            stub::stored(request, 0)
        } else {
            // The value is read now and may be stale by the time of the answer.
            stub::value(request, 0, &json!({"v": store[at]}).to_string())
        };
        if nth.wrapping_mul(2_654_435_761) % 5 < 3 {
            let gate = Gate::closed();
            kept.lock().unwrap().push(gate.clone());
            gate.hold(reply)
        } else {
            reply
        }
    })
    .await;
    let bench = Arc::new(Bench::over(&stub, &["--cache-enabled"]));
    let over = Arc::new(AtomicBool::new(false));
    let opener = tokio::spawn(async move {
        for turn in 0u64.. {
            // Sometimes release the newest answer first, so that the older ones become very old.
            let gate = {
                let mut gates = gates.lock().unwrap();
                match gates.len() {
                    0 => None,
                    held if held <= 3 && !turn.is_multiple_of(3) => None,
                    _ if turn.is_multiple_of(2) => gates.pop(),
                    _ => Some(gates.remove(0)),
                }
            };
            if let Some(gate) = gate {
                gate.open();
            }
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    });
    let written: Arc<[AtomicU64; KEYS]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for at in 0..KEYS {
        for _ in 0..4 {
            let (bench, written, over) = (Arc::clone(&bench), Arc::clone(&written), Arc::clone(&over));
            tasks.push(tokio::spawn(async move {
                let mut reads = 0u64;
                while !over.load(Ordering::Relaxed) {
                    let least = written[at].load(Ordering::SeqCst);
                    let read = bench.read(&format!("k{at}")).await;
                    let version = read["value"]["v"].as_u64().unwrap();
                    assert!(version >= least, "k{at}: {version} after {least} had been written: {read}");
                    reads += 1;
                }
                reads
            }));
        }
    }
    for version in 1..=WRITES {
        for at in 0..KEYS {
            bench.write(&format!("k{at}"), json!({"v": version})).await;
            written[at].store(version, Ordering::SeqCst);
        }
    }
    over.store(true, Ordering::Relaxed);
    let mut reads = 0;
    for task in tasks {
        reads += task.await.unwrap();
    }
    opener.abort();
    let stats = bench.stats().await;
    let of = |name: &str| stats[name].as_u64().unwrap();
    assert!(of("cache_hits") > 0 && of("cache_coalesced") > 0 && of("cache_misses") > 0, "{stats}");
    assert_eq!(of("cache_hits") + of("cache_misses") + of("cache_coalesced"), reads);
    assert_eq!(of("total_requests"), reads + WRITES * KEYS as u64);
}
