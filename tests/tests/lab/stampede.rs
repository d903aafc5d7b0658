//! Tests that simultaneous reads of one absent key cause one fetch.

use lab_tests::kernel;
use lab_tests::lab::{Lab, Options};
use lab_tests::poll;
use lab_tests::process::{Signal, TestProcess as _};
use protocol::Key;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Service time in ms. All readers arrive while the first fetch is in flight.
const SLOW: &str = "600";

/// Service time in ms. It leaves time to kill the shard while all readers wait, and is below the gateway's timeout.
const SLOWER: &str = "3000";

async fn lab(probe: bool, latency: &str) -> Lab {
    let shard = vec![("BASE_LATENCY_MS", latency.to_owned()), ("SHARD_CONCURRENCY", "64".to_owned())];
    let gateway = vec![("CACHE_ENABLED", "true".to_owned())];
    Lab::start(Options { probe, shard, gateway, ..Options::default() }).await
}

/// Requests a key's shard from the gateway.
async fn shard_of(lab: &Lab, key: &str) -> usize {
    let mapping: Value = lab.json(&lab.at_gateway(&format!("/admin/shard-mapping/{key}"))).await;
    usize::try_from(mapping["shard_id"].as_u64().unwrap()).unwrap()
}

/// Sends one GET on a new connection. Returns status and body.
async fn get(lab: &Lab, key: &str) -> (u16, Value) {
    let answer = lab.client.get(lab.at_gateway(&format!("/data/{key}"))).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn parallel(lab: &Lab, key: &str, readers: usize) -> Vec<(u16, Value)> {
    let url = lab.at_gateway(&format!("/data/{key}"));
    let all = (0..readers).map(|_| {
        let (client, url) = (lab.client.clone(), url.clone());
        tokio::spawn(async move {
            let answer = client.get(url).send().await.unwrap();
            (answer.status().as_u16(), answer.json().await.unwrap())
        })
    });
    let mut answers = Vec::new();
    for reader in all.collect::<Vec<_>>() {
        answers.push(reader.await.unwrap());
    }
    answers
}

async fn many_readers_cause_one_request(lab: &Lab, readers: usize) {
    let key = format!("absent-{readers}");
    let shard = shard_of(lab, &key).await;
    let reset = lab.client.post(lab.at_gateway("/admin/reset")).send().await.unwrap();
    assert_eq!(reset.status(), 200);
    let before = lab.shard_stats(shard).await.requests_received;
    let kernel = if lab.probe.is_some() { Some(lab.kernel_requests().await[shard]) } else { None };
    let answers = parallel(lab, &key, readers).await;
    assert!(answers.iter().all(|(status, body)| *status == 200 && body["value"] == answers[0].1["value"]));
    let coalesced = answers.iter().filter(|(_, body)| body["coalesced"] == true).count();
    assert!(answers.iter().all(|(_, b)| !(b["coalesced"] == true && b["cache_hit"] == true)));
    let stats = lab.gateway_stats().await;
    assert_eq!(stats.cache_size, 1, "right after");
    assert_eq!((stats.cache_misses, stats.cache_coalesced), (1, coalesced as u64));
    assert_eq!(stats.cache_hits + stats.cache_misses + stats.cache_coalesced, readers as u64);
    assert_eq!(lab.shard_stats(shard).await.requests_received - before, 1, "by the shard's count");
    if let Some(kernel) = kernel {
        assert_eq!(lab.kernel_requests().await[shard] - kernel, 1, "by the kernel's count");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stampede_is_one_request_by_the_shards_count() {
    let lab = lab(false, SLOW).await;
    for readers in [100, 1_000] {
        many_readers_cause_one_request(&lab, readers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stampede_is_one_request_by_the_kernels_count() {
    if !kernel::available("a_stampede_is_one_request_by_the_kernels_count") {
        return;
    }
    let lab = lab(true, SLOW).await;
    for readers in [100, 1_000] {
        many_readers_cause_one_request(&lab, readers).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_reader_that_hangs_up_neither_cancels_nor_repeats_the_fetch() {
    let lab = lab(false, SLOW).await;
    let shard = shard_of(&lab, "left-alone").await;
    let mut first = TcpStream::connect(lab.gateway_addr()).await.unwrap();
    first.write_all(b"GET /data/left-alone HTTP/1.1\r\nHost: lab\r\n\r\n").await.unwrap();
    let arrived = poll::until(Duration::from_secs(5), || async {
        let stats = lab.shard_stats(shard).await;
        if stats.requests_received == 1 { Ok(()) } else { Err(format!("{stats:?}")) }
    });
    arrived.await.unwrap();
    drop(first);
    let answers = parallel(&lab, "left-alone", 100).await;
    assert!(answers.iter().all(|(status, _)| *status == 200));
    assert_eq!(lab.shard_stats(shard).await.requests_received, 1);
    assert_eq!(lab.gateway_stats().await.cache_size, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_shard_fails_all_waiters_get_the_error_and_the_next_request_tries_again() {
    let mut lab = lab(false, SLOWER).await;
    let key = Key::new("unlucky").unwrap();
    let shard = shard_of(&lab, key.as_str()).await;
    let url = lab.at_gateway("/data/unlucky");
    let waiters: Vec<_> = (0..100)
        .map(|_| {
            let (client, url) = (lab.client.clone(), url.clone());
            tokio::spawn(async move {
                let answer = client.get(url).send().await.unwrap();
                let retry_after = answer.headers().get("retry-after").is_some();
                (answer.status().as_u16(), retry_after, answer.json::<Value>().await.unwrap())
            })
        })
        .collect();
    // Whoever came after the failure would start a fetch of its own, and five failed ones open the breaker.
    let arrived = poll::until(Duration::from_secs(5), || async {
        let (stats, asked) = (lab.shard_stats(shard).await, lab.gateway_stats().await.total_requests);
        if stats.active_requests > 0 && asked == 100 { Ok(()) } else { Err(format!("{asked} {stats:?}")) }
    });
    arrived.await.unwrap();
    lab.restart_shard(shard, Signal::KILL).await;
    let detail = json!({"detail": format!("Shard {shard} unavailable"), "kind": "shard_unavailable"});
    let mut failed = 0;
    for waiter in waiters {
        let (status, retry_after, body) = waiter.await.unwrap();
        // The gateway may retry a GET after a broken connection and reach the restarted shard.
        if status == 503 {
            assert!(retry_after && body == detail, "{body}");
            failed += 1;
        } else {
            assert_eq!(status, 200, "{body}");
        }
    }
    let retried = lab.shard_stats(shard).await.requests_received;
    assert!(failed == 100 || retried == 1, "{failed} of 100 failed, {retried} requests at the new process");
    assert_eq!(get(&lab, "unlucky").await.0, 200);
    assert_eq!(lab.shard_stats(shard).await.requests_received, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_shard_that_is_gone_is_an_error_for_all_and_not_cached() {
    let mut lab = lab(false, SLOW).await;
    let shard = shard_of(&lab, "unlucky").await;
    lab.shards[shard].signal(Signal::KILL);
    lab.shards[shard].ended(Duration::from_secs(5)).await;
    let answers = parallel(&lab, "unlucky", 100).await;
    assert!(answers.iter().all(|(status, _)| *status == 503), "{answers:?}");
    assert_eq!(lab.gateway_stats().await.cache_size, 0);
    let mut raw = TcpStream::connect(lab.gateway_addr()).await.unwrap();
    raw.write_all(b"GET /data/unlucky HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    raw.read_to_string(&mut text).await.unwrap();
    let head = text.to_ascii_lowercase();
    let waits = (1..=3).any(|seconds| head.contains(&format!("retry-after: {seconds}\r\n")));
    assert!(text.starts_with("HTTP/1.1 503") && waits, "{text}");
}
