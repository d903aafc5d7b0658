//! Start, drain and exit codes.

use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::bench::{Bench, SOON, until};
use crate::stub::{self, Gate, Stub};

async fn held() -> (Gate, Stub) {
    let gate = Gate::closed();
    let held = gate.clone();
    (gate, Stub::start(move |request, _| held.hold(stub::value(request, 0, "{}"))).await)
}

#[tokio::test]
async fn a_request_in_flight_is_answered_while_the_gateway_drains() {
    let (gate, stub) = held().await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    let (url, client) = (bench.url("/data/k"), bench.client.clone());
    let pending =
        tokio::spawn(async move { client.get(url).send().await.unwrap().json::<Value>().await.unwrap() });
    until("the fetch begins", async || stub.count() == 1).await;
    let addr = bench.addr;
    let stopping = tokio::spawn(bench.stop(SOON));
    until("the port closes", async || tokio::net::TcpStream::connect(addr).await.is_err()).await;
    gate.open();
    assert_eq!(pending.await.unwrap()["value"], json!({}));
    assert_eq!(stopping.await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_fetch_that_outlives_the_grace_is_named() {
    let (_gate, stub) = held().await;
    let bench = Bench::over(&stub, &["--cache-enabled"]);
    let mut only = TcpStream::connect(bench.addr).await.unwrap();
    only.write_all(b"GET /data/k HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until("the fetch begins", async || stub.count() == 1).await;
    // Reset the connection: after a normal close the client might still read the answer.
    only.set_zero_linger().unwrap();
    drop(only);
    assert_eq!(bench.stop(Duration::from_secs(2)).await, ["cache fetch (1)"]);
}

#[tokio::test]
async fn every_start_has_its_own_started_at() {
    let stub = Stub::honest(0).await;
    let (one, two) = (Bench::over(&stub, &[]), Bench::over(&stub, &[]));
    assert_ne!(one.stats().await["started_at"], two.stats().await["started_at"]);
}

#[test]
fn the_binary_refuses_bad_settings_in_one_line() {
    for (arguments, code, says) in [
        (vec!["--port", "0"], 2, "SHARD_URLS (--shard-urls) is required"),
        (
            vec!["--shard-urls", "http://a:1,,"],
            2,
            "SHARD_URLS=\"http://a:1,,\" cannot be used: an empty entry",
        ),
        (vec!["--shard-urls", "http://a:1", "--num-shards", "4"], 2, "NUM_SHARDS=\"4\""),
        (vec!["--shard-urls", "http://a:1", "--cache-ttl-seconds", "0"], 2, "1..=86400"),
        (vec!["--shard-urls", "http://a:1", "--log-level", "=="], 2, "LOG_LEVEL"),
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_gateway")).env_clear().args(&arguments).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.lines().count()), (Some(code), 1), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}

#[test]
fn the_binary_says_that_its_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_gateway"))
        .env_clear()
        .args(["--port", &port, "--shard-urls", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains(&port) && text.contains("set PORT to a free port"), "{text}");
}
