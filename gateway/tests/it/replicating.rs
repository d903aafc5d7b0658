//! Copies of hot keys: targets of reads, and no stale answers.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::bench::{Bench, until};
use crate::stub::{self, Gate, Reply, Stub};

/// A key with its home on shard 0.
const HOT: &str = "celebrity-user-kardashian";
const HOME: usize = 0;
/// A failed shard is not used for two deadlines. These are long enough for a busy machine and short enough for a test.
const SHORT: [&str; 2] = ["--upstream-timeout-ms=1500", "--connect-timeout-ms=1000"];

/// The contents and the behaviour of the four shards.
#[derive(Clone, Default)]
struct Shards {
    stores: [Arc<Mutex<HashMap<String, Value>>>; 4],
    /// Refuse all requests.
    refuses: [Arc<AtomicBool>; 4],
    refuses_writes: [Arc<AtomicBool>; 4],
    /// Break every connection.
    dead: [Arc<AtomicBool>; 4],
    /// Some answers wait for these gates.
    late: Arc<Mutex<Vec<Gate>>>,
    is_late: Arc<AtomicBool>,
}

impl Shards {
    async fn start(&self) -> Vec<Stub> {
        let mut stubs = Vec::new();
        for id in 0..4 {
            let shards = self.clone();
            stubs.push(Stub::start(move |request, nth| shards.answer(id, request, nth)).await);
        }
        stubs
    }

    fn answer(&self, id: usize, request: &stub::StubRequest, nth: usize) -> Reply {
        let is_write = request.method == "POST";
        if self.dead[id].load(Ordering::SeqCst) {
            return Reply::Cut;
        }
        if self.refuses[id].load(Ordering::SeqCst)
            || (is_write && self.refuses_writes[id].load(Ordering::SeqCst))
        {
            return Reply::Answer(503, String::new());
        }
        let number = u32::try_from(id).unwrap();
        let mut store = self.stores[id].lock().unwrap();
        let reply = if is_write {
            let body: Value = serde_json::from_str(&request.body).unwrap();
            store.insert(request.key(), body["value"].clone());
            stub::stored(request, number)
        } else {
            let made = json!({"made_by": id, "v": 0});
            stub::value(request, number, &store.entry(request.key()).or_insert(made).to_string())
        };
        if self.is_late.load(Ordering::SeqCst) && nth.wrapping_mul(2_654_435_761) % 5 < 2 {
            let gate = Gate::closed();
            self.late.lock().unwrap().push(gate.clone());
            return gate.hold(reply);
        }
        reply
    }

    fn held(&self, id: usize) -> Option<Value> {
        self.stores[id].lock().unwrap().get(HOT).cloned()
    }
}

fn at(stubs: &[Stub], options: &[&str]) -> Bench {
    Bench::at(&stubs.iter().map(|stub| stub.addr).collect::<Vec<_>>(), options)
}

async fn replicas(bench: &Bench) -> Vec<usize> {
    let mapping = bench.get(&format!("/admin/shard-mapping/{HOT}")).await.json();
    assert_eq!(mapping["shard_id"], HOME, "home stays");
    serde_json::from_value(mapping["replicas"].clone()).unwrap()
}

/// Reads the hot key until it is on these shards.
async fn replicated_on(bench: &Bench, shards: &[usize]) {
    until(&format!("copies on {shards:?}"), async || {
        for _ in 0..50 {
            bench.read(HOT).await;
        }
        replicas(bench).await == shards
    })
    .await;
}

#[tokio::test]
async fn reads_go_to_all_copies_and_every_request_is_counted() {
    let shards = Shards::default();
    let stubs = shards.start().await;
    let bench = at(&stubs, &[]);
    bench.write(HOT, json!({"v": 7, "a": [1.5, "ü"]})).await;
    assert_eq!(replicas(&bench).await, [HOME]);
    bench.mitigate(json!({"replication": 4})).await;
    replicated_on(&bench, &[0, 1, 2, 3]).await;
    let state = bench.get("/admin/mitigation").await.json();
    assert_eq!(state["replicated"], json!([{"key": HOT, "replicas": [0, 1, 2, 3]}]));
    assert_eq!(state["hot_keys"], json!([HOT]));
    let before: Vec<usize> = stubs.iter().map(Stub::count).collect();
    for _ in 0..400 {
        let read = bench.read(HOT).await;
        assert_eq!(read["value"], json!({"v": 7, "a": [1.5, "ü"]}));
        assert!(read["shard_id"].as_u64().unwrap() < 4);
    }
    for (stub, before) in stubs.iter().zip(before) {
        let served = stub.count() - before;
        assert!((50..=150).contains(&served), "about a quarter of 400 each, and not {served}");
    }
    let (stats, metrics) = (bench.stats().await, bench.metrics().await);
    for (id, stub) in stubs.iter().enumerate() {
        assert_eq!(stats["shard_requests"][id]["requests"], stub.count(), "shard {id}");
        let sent = metrics[&format!(r#"gateway_shard_distribution_total{{shard_id="{id}"}}"#)];
        assert_eq!(sent, stub.count() as f64);
    }
    assert_eq!(metrics[r#"gateway_replica_reads_total{result="lost"}"#], 0.0);
    assert_eq!(metrics[r#"gateway_replica_writes_total{result="stored"}"#], 3.0);

    bench.mitigate(json!({"replication": 1})).await;
    assert_eq!(replicas(&bench).await, [HOME]);
    let elsewhere: usize = stubs[1..].iter().map(Stub::count).sum();
    for _ in 0..50 {
        assert_eq!(bench.read(HOT).await["shard_id"], HOME);
    }
    assert_eq!(stubs[1..].iter().map(Stub::count).sum::<usize>(), elsewhere);
}

#[tokio::test]
async fn a_write_reaches_every_copy_before_one_is_read() {
    let shards = Shards::default();
    let stubs = shards.start().await;
    let bench = at(&stubs, &[]);
    bench.mitigate(json!({"replication": 3})).await;
    replicated_on(&bench, &[0, 1, 2]).await;
    for v in 1..=30 {
        bench.write(HOT, json!({"v": v})).await;
        for _ in 0..5 {
            assert_eq!(bench.read(HOT).await["value"]["v"], v);
        }
    }
    replicated_on(&bench, &[0, 1, 2]).await;
    for id in 0..3 {
        assert_eq!(shards.held(id), Some(json!({"v": 30})), "shard {id}");
    }
    assert_eq!(shards.held(3), None);
    // After a write with a known outcome each shard gets one request. The home's value is not read again.
    let before: Vec<usize> = stubs.iter().map(Stub::count).collect();
    bench.write(HOT, json!({"v": 31})).await;
    until("the copies have it", async || replicas(&bench).await.len() == 3).await;
    let sent: Vec<usize> = stubs.iter().zip(before).map(|(stub, before)| stub.count() - before).collect();
    assert_eq!(sent, [1, 1, 1, 0]);
}

#[tokio::test]
async fn a_copy_that_a_shard_lost_is_never_answered_with_what_it_makes_instead() {
    let shards = Shards::default();
    let stubs = shards.start().await;
    let bench = Arc::new(at(&stubs, &SHORT));
    bench.write(HOT, json!({"v": 7})).await;
    bench.mitigate(json!({"replication": 4})).await;
    replicated_on(&bench, &[0, 1, 2, 3]).await;
    // Like a shard that restarts and creates an absent value on the fly.
    shards.stores[2].lock().unwrap().clear();
    let readers = (0..100).map(|_| {
        let bench = Arc::clone(&bench);
        async move { bench.read(HOT).await["value"].clone() }
    });
    for value in crate::bench::all(readers).await {
        assert_eq!(value, json!({"v": 7}));
    }
    assert_eq!(shards.held(2).unwrap()["made_by"], 2, "one was sent there");
    assert!(bench.metrics().await[r#"gateway_replica_reads_total{result="lost"}"#] >= 1.0);
    // The copy is written again after a while.
    replicated_on(&bench, &[0, 1, 2, 3]).await;
    assert_eq!(shards.held(2), Some(json!({"v": 7})));
}

#[tokio::test]
async fn a_copys_shard_that_fails_costs_no_answer() {
    let shards = Shards::default();
    let stubs = shards.start().await;
    let bench = at(&stubs, &SHORT);
    bench.write(HOT, json!({"v": 1})).await;
    bench.mitigate(json!({"replication": 4})).await;
    replicated_on(&bench, &[0, 1, 2, 3]).await;
    shards.refuses[1].store(true, Ordering::SeqCst);
    for _ in 0..100 {
        assert_eq!(bench.read(HOT).await["value"]["v"], 1);
    }
    assert!(!replicas(&bench).await.contains(&1));
    // A write that one shard refuses still gets the home's answer. Reads continue on the other shards.
    bench.write(HOT, json!({"v": 2})).await;
    replicated_on(&bench, &[0, 2, 3]).await;
    shards.refuses[1].store(false, Ordering::SeqCst);
    shards.refuses_writes[1].store(true, Ordering::SeqCst);
    let failed = r#"gateway_replica_writes_total{result="failed"}"#;
    until("it is tried again", async || {
        assert_eq!(bench.read(HOT).await["value"]["v"], 2);
        bench.metrics().await[failed] >= 1.0
    })
    .await;
    shards.refuses_writes[1].store(false, Ordering::SeqCst);
    replicated_on(&bench, &[0, 1, 2, 3]).await;
    assert_eq!(shards.held(1), Some(json!({"v": 2})));
}

#[tokio::test]
async fn a_write_that_home_refuses_is_refused_and_leaves_home_as_the_truth() {
    let shards = Shards::default();
    let stubs = shards.start().await;
    let bench = at(&stubs, &SHORT);
    bench.write(HOT, json!({"v": 1})).await;
    bench.mitigate(json!({"replication": 2})).await;
    replicated_on(&bench, &[0, 1]).await;
    shards.refuses_writes[HOME].store(true, Ordering::SeqCst);
    let body = json!({"key": HOT, "value": {"v": 2}}).to_string();
    bench.post("/data", body).await.assert_error(503, "shard_unavailable");
    assert_eq!(replicas(&bench).await, [HOME], "nobody knows what home will hold");
    // A shard may still execute such a write later.
    shards.stores[HOME].lock().unwrap().insert(HOT.into(), json!({"v": 2}));
    replicated_on(&bench, &[0, 1]).await;
    for _ in 0..20 {
        assert_eq!(bench.read(HOT).await["value"]["v"], 2);
    }
}

#[tokio::test]
async fn a_write_that_began_before_the_key_had_copies_is_waited_for() {
    let shards = Shards::default();
    let stubs = shards.start().await;
    // A separate stub holds the write back, so that the test decides when it is applied.
    let (gate, landed) = (Gate::closed(), Arc::new(AtomicBool::new(false)));
    let (held, lands, behind) = (gate.clone(), Arc::clone(&landed), shards.clone());
    let home = Stub::start(move |request, nth| {
        if request.method == "POST" && !lands.swap(true, Ordering::SeqCst) {
            return held.hold(stub::stored(request, 0));
        }
        behind.answer(HOME, request, nth)
    })
    .await;
    let bench = Arc::new(at(&[home, stubs[1].clone(), stubs[2].clone(), stubs[3].clone()], &[]));
    let writer = Arc::clone(&bench);
    let write = tokio::spawn(async move { writer.write(HOT, json!({"v": 1})).await });
    until("the write is under way", async || landed.load(Ordering::SeqCst)).await;
    bench.mitigate(json!({"replication": 4})).await;
    until("the key is hot", async || {
        for _ in 0..50 {
            bench.read(HOT).await;
        }
        bench.hot_keys().await == [HOT]
    })
    .await;
    // There is still no copy after many reads.
    for _ in 0..200 {
        bench.read(HOT).await;
        assert_eq!(replicas(&bench).await, [HOME]);
    }
    shards.stores[HOME].lock().unwrap().insert(HOT.into(), json!({"v": 1}));
    gate.open();
    write.await.unwrap();
    replicated_on(&bench, &[0, 1, 2, 3]).await;
    assert_eq!(bench.read(HOT).await["value"]["v"], 1);
}

/// Answers are delayed at random, so that reads, writes and copying overlap in many orders. No read that begins after a
/// write was answered may return an older version, with or without the cache.
///
/// The test also checks that copies are sometimes older. Otherwise it could not detect a gateway that reads copies
/// without a check.
#[tokio::test]
async fn no_read_after_a_write_is_older_than_it_with_copies() {
    const WRITES: u64 = 150;
    for cache in ["off", "all"] {
        let shards = Shards::default();
        let stubs = shards.start().await;
        let bench = Arc::new(at(&stubs, &[]));
        bench.mitigate(json!({"replication": 4, "cache": cache})).await;
        replicated_on(&bench, &[0, 1, 2, 3]).await;
        shards.is_late.store(true, Ordering::SeqCst);
        let gates = Arc::clone(&shards.late);
        let opener = tokio::spawn(async move {
            for turn in 0u64.. {
                let gate = {
                    let mut gates = gates.lock().unwrap();
                    match gates.len() {
                        0 => None,
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
        let (written, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let by_copies = Arc::new(AtomicUsize::new(0));
        let mut readers = Vec::new();
        for _ in 0..8 {
            let (bench, written, over) = (Arc::clone(&bench), Arc::clone(&written), Arc::clone(&over));
            let by_copies = Arc::clone(&by_copies);
            readers.push(tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let least = written.load(Ordering::SeqCst);
                    let read = bench.read(HOT).await;
                    let version = read["value"]["v"].as_u64().unwrap();
                    assert!(version >= least, "{version} after {least} had been written: {read}");
                    if read["shard_id"] != HOME {
                        by_copies.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        let mut older_copies = 0;
        for version in 1..=WRITES {
            // Sometimes two writes run concurrently. Their order at the home is unknown.
            if version.is_multiple_of(5) {
                let body = json!({"v": version});
                tokio::join!(bench.write(HOT, body.clone()), bench.write(HOT, body));
            } else {
                bench.write(HOT, json!({"v": version})).await;
            }
            written.store(version, Ordering::SeqCst);
            let held = (1..4).filter_map(|id| shards.held(id));
            older_copies += held.filter(|value| value["v"].as_u64() < Some(version)).count();
            if version.is_multiple_of(3) {
                until("a copy is read", async || replicas(&bench).await.len() > 1).await;
                let before = by_copies.load(Ordering::Relaxed);
                if cache == "off" {
                    until("a copy answers", async || by_copies.load(Ordering::Relaxed) > before).await;
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.unwrap();
        }
        opener.abort();
        assert!(older_copies > 0, "the test would not notice a gateway that reads any copy");
        assert_eq!(bench.metrics().await[r#"gateway_replica_reads_total{result="lost"}"#], 0.0);
    }
}

#[tokio::test]
async fn a_replicated_key_survives_its_home() {
    let shards = Shards::default();
    let stubs = shards.start().await;
    let bench = at(&stubs, &[]);
    bench.write(HOT, json!({"v": 7})).await;
    bench.mitigate(json!({"replication": 4})).await;
    replicated_on(&bench, &[0, 1, 2, 3]).await;
    shards.dead[HOME].store(true, Ordering::SeqCst);
    let before = stubs[HOME].count();
    for _ in 0..10_000 {
        let read = bench.read(HOT).await;
        assert_eq!(read["value"], json!({"v": 7}));
    }
    // The home is tried occasionally, not whenever it has the fewest requests in flight.
    assert!(stubs[HOME].count() - before < 1_000, "{}", stubs[HOME].count() - before);
    shards.dead[HOME].store(false, Ordering::SeqCst);
    until("home is read again", async || bench.read(HOT).await["shard_id"] == HOME).await;
}
