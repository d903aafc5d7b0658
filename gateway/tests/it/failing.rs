//! Failing shards: the client's answer, and which calls are retried.

use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::{TcpSocket, TcpStream};

use crate::bench::{Answer, Bench, until};
use crate::stub::{self, Gate, Reply, Stub};

const SHORT: [&str; 1] = ["--upstream-timeout-ms=2000"];
const WRITE: &str = r#"{"key":"k","value":{}}"#;

fn assert_unavailable(answer: &Answer) {
    answer.assert_error(503, "shard_unavailable");
    assert_eq!(answer.json()["detail"], "Shard 0 unavailable");
    assert!(matches!(answer.header("retry-after"), Some("1" | "2" | "3")));
}

async fn sent(bench: &Bench) -> Value {
    bench.stats().await["shard_requests"][0]["requests"].clone()
}

#[tokio::test]
async fn a_shard_that_is_not_there_is_unavailable_and_nothing_was_sent() {
    // A bound socket that does not listen refuses connections. No other process can take its port.
    let gone = TcpSocket::new_v4().unwrap();
    gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let bench = Bench::at(&[gone.local_addr().unwrap()], &[]);
    assert_unavailable(&bench.get("/data/k").await);
    assert_unavailable(&bench.post("/data", WRITE).await);
    assert_eq!(sent(&bench).await, 0);
    assert_eq!(bench.metrics().await[r#"gateway_shard_distribution_total{shard_id="0"}"#], 0.0);
    assert_eq!(bench.stat("total_requests").await, 2);
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_is_given_up_and_nothing_was_sent() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let addr = full.local_addr().unwrap();
    // No connection is accepted. Once the listen backlog is full, connecting never ends.
    let queued: Vec<_> = (0..8).map(|_| tokio::spawn(TcpStream::connect(addr))).collect();
    let connected =
        |tasks: &[tokio::task::JoinHandle<_>]| tasks.iter().filter(|task| task.is_finished()).count();
    until("the queue is full", async || connected(&queued) >= 2).await;
    let bench = Bench::at(&[addr], &["--connect-timeout-ms=200", "--upstream-timeout-ms=20000"]);
    assert_unavailable(&bench.get("/data/k").await);
    assert_eq!(sent(&bench).await, 0);
    queued.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_shard_that_takes_too_long_is_unavailable() {
    let whole = Stub::start(|_, _| Gate::closed().hold(Reply::Cut)).await;
    let bench = Bench::over(&whole, &SHORT);
    assert_unavailable(&bench.get("/data/k").await);
    assert_unavailable(&bench.post("/data", WRITE).await);
    assert_eq!((whole.count(), sent(&bench).await), (2, json!(2)), "not repeated, and counted");
}

#[tokio::test]
async fn a_shard_that_sheds_is_unavailable() {
    let body = r#"{"detail":"queue full","kind":"overloaded"}"#;
    let stub = Stub::start(|_, _| Reply::Answer(503, body.into())).await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    assert_unavailable(&bench.get("/data/k").await);
    assert_unavailable(&bench.post("/data", WRITE).await);
    assert_eq!((stub.count(), sent(&bench).await), (2, json!(2)));
}

#[tokio::test]
async fn a_full_shards_refusals_are_passed_on() {
    let stub = Stub::start(|request, _| match request.method.as_str() {
        "POST" => Reply::Answer(507, r#"{"detail":"1000 keys are the most","kind":"store_full"}"#.into()),
        _ => Reply::Answer(404, r#"{"detail":"no room for it","kind":"not_found"}"#.into()),
    })
    .await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    let read = bench.get("/data/k").await;
    read.assert_error(404, "not_found");
    assert_eq!(read.json()["detail"], "no room for it");
    let write = bench.post("/data", WRITE).await;
    write.assert_error(507, "store_full");
    assert_eq!(write.json()["detail"], "1000 keys are the most");
    assert_eq!(bench.stat("cache_size").await, 0);
}

#[tokio::test]
async fn an_unreadable_answer_is_a_bad_gateway_and_is_not_kept() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000)).repeat(32);
    let replies: Vec<(&str, Vec<u8>)> = vec![
        ("not HTTP", b"220 mail ready\r\n\r\n".into()),
        ("cut in the body", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"key\"".into()),
        ("not JSON", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\noops".into()),
        ("no body", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into()),
        ("a redirect", b"HTTP/1.1 302 Found\r\nlocation: /data/x\r\ncontent-length: 0\r\n\r\n".into()),
        ("a fault", b"HTTP/1.1 500 X\r\ncontent-length: 5\r\n\r\npanic".into()),
        ("2 MiB announced", format!("HTTP/1.1 200 OK\r\ncontent-length: 2097152\r\n\r\n{chunks}").into()),
        ("2 MiB in chunks", format!("{chunked}{chunks}0\r\n\r\n").into()),
    ];
    for (what, reply) in replies {
        let stub = Stub::start(move |_, _| Reply::Raw(reply.clone())).await;
        let bench = Bench::over(&stub, &["--cache-enabled"]);
        let answer = bench.get("/data/k").await;
        answer.assert_error(502, "bad_shard_answer");
        assert!(!answer.text.contains("panic"), "{what}: {answer:?}");
        assert_eq!((stub.count(), bench.stat("cache_size").await), (1, 0), "{what}");
        bench.post("/data", WRITE).await.assert_error(502, "bad_shard_answer");
        assert_eq!(stub.count(), 2, "{what}");
    }
}

#[tokio::test]
async fn an_answer_of_exactly_a_mebibyte_is_passed_on() {
    const MIB: usize = 1024 * 1024;
    for (extra, status) in [(0, 200), (1, 502)] {
        let stub = Stub::start(move |request, _| {
            let Reply::Answer(_, empty) = stub::value(request, 0, r#"{"t":""}"#) else { unreachable!() };
            let text = "x".repeat(MIB - empty.len() + extra);
            stub::value(request, 0, &format!(r#"{{"t":"{text}"}}"#))
        })
        .await;
        assert_eq!(Bench::over(&stub, &[]).get("/data/k").await.status, status, "{extra} byte over");
    }
}

#[tokio::test]
async fn an_answer_of_another_shard_or_about_another_key_is_a_bad_gateway() {
    let other_shard = Stub::honest(1).await;
    let answer = Bench::over(&other_shard, &[]).get("/data/k").await;
    answer.assert_error(502, "bad_shard_answer");
    assert!(answer.text.contains("check the order of SHARD_URLS"), "{answer:?}");
    let other_key = r#"{"key":"other","value":{},"shard_id":0,"found":true}"#;
    let stub = Stub::start(|_, _| Reply::Answer(200, other_key.into())).await;
    Bench::over(&stub, &[]).get("/data/k").await.assert_error(502, "bad_shard_answer");
}

#[tokio::test]
async fn a_read_whose_connection_breaks_is_sent_once_more() {
    for cache in ["true", "false"] {
        let stub =
            Stub::start(|request, nth| if nth == 0 { Reply::Cut } else { stub::value(request, 0, "{}") })
                .await;
        let bench = Bench::over(&stub, &["--cache-enabled", cache]);
        assert_eq!(bench.read("k").await["cache_hit"], false);
        assert_eq!((stub.count(), sent(&bench).await, bench.stat("cache_misses").await), (2, json!(2), 1));
    }
}

#[tokio::test]
async fn a_read_whose_kept_connection_breaks_is_sent_once_more() {
    let stub =
        Stub::start(|request, nth| if nth == 1 { Reply::Cut } else { stub::value(request, 0, "{}") }).await;
    let bench = Bench::over(&stub, &["--workers=1"]);
    bench.read("k").await;
    bench.read("k").await;
    assert_eq!((stub.count(), sent(&bench).await), (3, json!(3)));
}

#[tokio::test]
async fn a_read_whose_answer_has_begun_is_not_repeated() {
    for begun in ["H", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\ncontent-le"] {
        // On a new connection, and on a pooled one.
        for before in 0..2 {
            let reply = move |request: &stub::StubRequest, nth| match nth {
                _ if nth == before => Reply::Raw(begun.into()),
                _ => stub::value(request, 0, "{}"),
            };
            let stub = Stub::start(reply).await;
            let bench = Bench::over(&stub, &["--workers=1"]);
            for _ in 0..before {
                bench.read("k").await;
            }
            bench.get("/data/k").await.assert_error(502, "bad_shard_answer");
            assert_eq!((stub.count(), sent(&bench).await), (before + 1, json!(before + 1)), "{begun:?}");
        }
    }
}

#[tokio::test]
async fn a_read_is_sent_twice_at_most_and_a_write_once() {
    let stub = Stub::start(|_, _| Reply::Cut).await;
    let bench = Bench::over(&stub, &[]);
    assert_unavailable(&bench.get("/data/k").await);
    assert_eq!((stub.count(), sent(&bench).await), (2, json!(2)));
    assert_unavailable(&bench.post("/data", WRITE).await);
    assert_eq!((stub.count(), sent(&bench).await), (3, json!(3)));
}

#[tokio::test]
async fn connections_to_a_shard_are_kept_and_a_restarted_shard_is_found_again() {
    let stub = Stub::start(|request, nth| match nth {
        // Closes the pooled connection with its answer, like a shard that stops.
        3 => Reply::Raw(match stub::value(request, 0, "{}") {
            Reply::Answer(_, body) => {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
            }
            _ => unreachable!(),
        }),
        _ if request.method == "POST" => stub::stored(request, 0),
        _ => stub::value(request, 0, "{}"),
    })
    .await;
    let bench = Bench::over(&stub, &[]);
    for n in 0..8 {
        bench.read(&format!("k{n}")).await;
    }
    assert_eq!(stub.count(), 8);
}

#[tokio::test]
async fn a_failure_is_remembered_for_its_key_until_a_write_or_its_time() {
    for cache in ["off", "all"] {
        let down = Arc::new(AtomicBool::new(true));
        let is_down = Arc::clone(&down);
        let stub = Stub::start(move |request, _| match request.method.as_str() {
            "POST" => stub::stored(request, 0),
            _ if is_down.load(Ordering::SeqCst) => Reply::Answer(503, String::new()),
            _ => stub::value(request, 0, "{}"),
        })
        .await;
        let bench = Bench::over(&stub, &[]);
        bench.mitigate(json!({"cache": cache, "negative_caching": true, "negative_ttl_ms": 60_000})).await;
        for _ in 0..5 {
            let answer = bench.get("/data/k").await;
            answer.assert_error(503, "shard_unavailable");
            assert!(matches!(answer.header("retry-after"), Some("1" | "2" | "3")));
        }
        bench.get("/data/other").await.assert_error(503, "shard_unavailable");
        assert_eq!(stub.count(), 2, "one for each key");
        let stats = bench.stats().await;
        let figures = ["cache_misses", "cache_coalesced", "cache_hits", "cache_size"];
        assert_eq!(figures.map(|name| stats[name].as_u64().unwrap()), [2, 4, 0, 0]);
        assert_eq!(bench.metrics().await["gateway_negative_cache_hits_total"], 4.0);

        down.store(false, Ordering::SeqCst);
        bench.get("/data/k").await.assert_error(503, "shard_unavailable");
        bench.write("k", json!({})).await;
        bench.read("k").await;
        bench.get("/data/other").await.assert_error(503, "shard_unavailable");
        bench.mitigate(json!({"negative_ttl_ms": 100})).await;
        bench.read("other").await;

        down.store(true, Ordering::SeqCst);
        bench.get("/data/third").await.assert_error(503, "shard_unavailable");
        down.store(false, Ordering::SeqCst);
        until("its time is over", async || bench.get("/data/third").await.status == 200).await;
    }
}

#[tokio::test]
async fn what_a_full_shard_says_is_never_remembered() {
    let stub = Stub::start(|_, _| Reply::Answer(404, r#"{"detail":"full","kind":"not_found"}"#.into())).await;
    let bench = Bench::over(&stub, &[]);
    bench.mitigate(json!({"negative_caching": true, "negative_ttl_ms": 60_000})).await;
    for n in 1..=3 {
        bench.get("/data/k").await.assert_error(404, "not_found");
        assert_eq!(stub.count(), n);
    }
}

#[tokio::test]
async fn interim_answers_are_skipped_and_endless_ones_cut_off() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    let body = r#"{"key":"k","value":{},"shard_id":0,"found":true}"#;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    for (count, status) in [(10, 200), (20_000, 502)] {
        let bytes = interim.repeat(count) + &answer;
        let stub = Stub::start(move |_, _| Reply::Raw(bytes.clone().into_bytes())).await;
        let bench = Bench::over(&stub, &[]);
        let answer = bench.get("/data/k").await;
        assert_eq!((answer.status, stub.count()), (status, 1), "{answer:?}");
    }
}
