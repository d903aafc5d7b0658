//! Tests quick reference calls, start errors, and the drain.

use lab_tests::lab::{Lab, Options};
use lab_tests::process::{Process, Signal, TestProcess as _};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

/// Runs a command line with 8000 replaced by the lab's port.
fn shell(line: &str) -> String {
    let output = Command::new("bash").args(["-c", line]).output().expect("bash");
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quick_references_curl_lines_work_as_they_stand() {
    let lab = Lab::start(Options::default()).await;
    let port = lab.gateway_addr().port();
    let at = |line: &str| shell(&line.replace("localhost:8000", &format!("127.0.0.1:{port}")));
    let on = at(r#"curl -s -X POST localhost:8000/admin/cache -d '{"enabled":true,"ttl_seconds":60}'"#);
    assert_eq!(
        serde_json::from_str::<Value>(&on).unwrap(),
        json!({"cache_enabled":true,"cache_ttl_seconds":60})
    );
    let off = at(r#"curl -s -X POST localhost:8000/admin/cache -d '{"enabled":false}'"#);
    assert_eq!(
        serde_json::from_str::<Value>(&off).unwrap(),
        json!({"cache_enabled":false,"cache_ttl_seconds":60})
    );
    let mapping: Value =
        serde_json::from_str(&at("curl -s localhost:8000/admin/shard-mapping/test-key")).unwrap();
    assert_eq!((mapping["key"].as_str(), mapping["shard_id"].as_u64()), (Some("test-key"), Some(3)));
    let data: Value = serde_json::from_str(&at("curl -s localhost:8000/data/test-key")).unwrap();
    assert_eq!((data["shard_id"].as_u64(), data["cache_hit"].as_bool()), (Some(3), Some(false)));
    let reset: Value = serde_json::from_str(&at("curl -s -X POST localhost:8000/admin/reset")).unwrap();
    assert_eq!(reset, json!({"status":"reset"}));
    let stats: Value = serde_json::from_str(&at("curl -s localhost:8000/stats")).unwrap();
    assert_eq!(stats["total_requests"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_and_a_bad_setting_are_one_line_and_their_exit_code() {
    let lab = Lab::start(Options::default()).await;
    let port = lab.shard_addrs()[0].port().to_string();
    let mut second = Process::of_lab("shard", &[], &[("SHARD_ID", "0".into()), ("PORT", port.clone())]);
    assert_eq!(second.ended(Duration::from_secs(10)).await.code(), Some(1));
    assert!(second.log().contains(&port) && second.log().lines().count() == 1, "{}", second.log());
    for (name, value) in [
        ("SHARD_URLS", "http://a:1,http://a:1"),
        ("CACHE_TTL_SECONDS", "0"),
        ("NUM_SHARDS", "7"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
    ] {
        let mut settings = vec![("PORT", "0".to_owned()), ("SHARD_URLS", "http://127.0.0.1:1".to_owned())];
        settings.retain(|(other, _)| *other != name);
        settings.push((name, value.to_owned()));
        let mut gateway = Process::of_lab("gateway", &[], &settings);
        assert_eq!(gateway.ended(Duration::from_secs(10)).await.code(), Some(2), "{name}");
        let output = gateway.log();
        assert!(output.contains(name) && output.contains(value) && output.lines().count() == 1, "{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_shards_and_gateway_under_load_loses_no_answer_in_flight() {
    let shard = vec![("BASE_LATENCY_MS", "3000".to_owned()), ("SHARD_CONCURRENCY", "64".to_owned())];
    let mut lab = Lab::start(Options { shard, ..Options::default() }).await;
    let url = lab.at_gateway("/data/held");
    let held: Vec<_> = (0..50)
        .map(|_| {
            let (client, url) = (lab.client.clone(), url.clone());
            tokio::spawn(async move { client.get(url).send().await.map(|answer| answer.status().as_u16()) })
        })
        .collect();
    let shard = 0..lab.shards.len();
    let arrived = lab_tests::poll::until(Duration::from_secs(20), || async {
        let mut active = 0;
        for id in shard.clone() {
            active += lab.shard_stats(id).await.active_requests;
        }
        if active == 50 { Ok(()) } else { Err(format!("{active} in flight")) }
    });
    arrived.await.unwrap();
    lab.gateway.signal(Signal::TERM);
    lab.shards.iter().for_each(|shard| shard.signal(Signal::TERM));
    for answer in held {
        assert_eq!(answer.await.unwrap().unwrap(), 200);
    }
    assert_eq!(lab.gateway.ended(Duration::from_secs(5)).await.code(), Some(0), "{}", lab.gateway.log());
    for shard in &mut lab.shards {
        assert_eq!(shard.ended(Duration::from_secs(5)).await.code(), Some(0), "{}", shard.log());
    }
}

/// A shard with a request in flight that takes longer than the drain.
async fn shard_with_a_stuck_request(grace_seconds: &str) -> (Process, std::net::SocketAddr) {
    let settings = [
        ("SHARD_ID", "0".to_owned()),
        ("PORT", "0".to_owned()),
        ("BASE_LATENCY_MS", "60000".to_owned()),
        ("DRAIN_TIMEOUT_SECONDS", grace_seconds.to_owned()),
    ];
    let mut shard = Process::of_lab("shard", &[], &settings);
    let addr = shard.ready().await;
    let client = lab_tests::lab::client();
    let url = format!("http://{addr}/data/stuck");
    drop(tokio::spawn(client.get(url).send()));
    let stats = format!("http://{addr}/stats");
    let client = lab_tests::lab::client();
    let arrived = lab_tests::poll::until(Duration::from_secs(5), || async {
        let stats: Value = client.get(&stats).send().await.unwrap().json().await.unwrap();
        if stats["active_requests"] == 1 { Ok(()) } else { Err(stats.to_string()) }
    });
    arrived.await.unwrap();
    (shard, addr)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_runs_out_of_time_names_what_is_left_and_exits_1() {
    let (mut shard, addr) = shard_with_a_stuck_request("1").await;
    let client = lab_tests::lab::client();
    let ready = format!("http://{addr}/ready");
    assert_eq!(client.get(&ready).send().await.unwrap().status(), 200);
    shard.signal(Signal::TERM);
    assert_eq!(shard.ended(Duration::from_secs(10)).await.code(), Some(1));
    assert!(
        shard.log().contains("the drain timeout expired") && shard.log().contains("connections"),
        "{}",
        shard.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let (mut shard, _) = shard_with_a_stuck_request("600").await;
    shard.signal(Signal::TERM);
    let draining = lab_tests::poll::until(Duration::from_secs(5), || async {
        if shard.log().contains("draining") { Ok(()) } else { Err(shard.log()) }
    });
    draining.await.unwrap();
    shard.signal(Signal::INT);
    assert_eq!(shard.ended(Duration::from_secs(5)).await.code(), Some(130));
}
