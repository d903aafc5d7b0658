//! Every row of the shard's calls, and behaviour at the limits.

use serde_json::json;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::lab::{Lab, answer, head, reset, until};

#[test]
fn health_and_the_routes_of_every_process() {
    let lab = Lab::start(&[]);
    let health = lab.get("/health");
    assert_eq!((health.status, health.json()), (200, json!({"status": "ok", "shard_id": 2})));
    assert!(health.head.contains("content-type: application/json"), "{}", health.head);
    assert_eq!(
        (lab.get("/live").status, lab.get("/ready").status, lab.get("/metrics").status),
        (200, 200, 200)
    );
    assert_eq!(lab.stats().requests_received, 0, "none of these is a data request");
}

#[test]
fn an_absent_key_is_made_on_the_spot_and_stays() {
    let lab = Lab::start(&[]);
    let before = unix_now();
    let made = lab.get("/data/user-7").json();
    assert_eq!(
        (&made["key"], &made["shard_id"], &made["found"], &made["auto_created"]),
        (&json!("user-7"), &json!(2), &json!(false), &json!(true))
    );
    assert_eq!(made["value"]["data"], "auto-generated-user-7");
    let created = made["value"]["created_at"].as_u64().unwrap();
    assert!((before..=unix_now()).contains(&created), "{created}");
    let again = lab.get("/data/user-7").json();
    assert_eq!((&again["found"], &again["value"]), (&json!(true), &made["value"]));
    assert_eq!(again.get("auto_created"), None);
}

#[test]
fn a_write_is_read_back_whatever_its_content_type() {
    let lab = Lab::start(&[]);
    let stored = lab.post("/data", r#"{"key":"a/b ü","value":{"n":[1,{"x":null}]},"ignored":1}"#);
    assert_eq!(
        (stored.status, stored.json()),
        (200, json!({"key": "a/b ü", "shard_id": 2, "status": "stored"}))
    );
    let read = lab.get("/data/a%2Fb%20%C3%BC?query=ignored").json();
    assert_eq!(read, json!({"key": "a/b ü", "value": {"n": [1, {"x": null}]}, "shard_id": 2, "found": true}));
    assert_eq!(lab.post("/data?x=1", r#"{"key":"k","value":{}}"#).status, 200);
}

#[test]
fn the_verdict_speaks_of_this_shards_keys_alone() {
    let lab = Lab::start(&[]);
    let verdict = || lab.get("/stats").json()["verdict"].clone();
    assert_eq!(verdict()["state"], "not enough traffic");
    for n in 0..120 {
        let key = if n % 2 == 0 { "hot".to_owned() } else { n.to_string() };
        assert_eq!(lab.get(&format!("/data/{key}")).status, 200);
    }
    let found = verdict();
    assert_eq!((&found["state"], &found["reason"]), (&"warm".into(), &"hot_key".into()), "{found}");
    assert_eq!(
        (&found["key"], &found["shard_id"], &found["p1"]),
        (&"hot".into(), &2.into(), &0.5.into()),
        "{found}"
    );
    assert!(found["max_over_mean"].is_null() && found["requests"] == 120, "{found}");
}

#[test]
fn stats_rank_keys_and_count_both_operations() {
    let lab = Lab::start(&[]);
    for (key, times) in [("a", 3), ("b", 5), ("c", 1)] {
        (0..times).for_each(|_| assert_eq!(lab.get(&format!("/data/{key}")).status, 200));
    }
    lab.post("/data", r#"{"key":"c","value":{}}"#);
    (0..12).for_each(|n| drop(lab.get(&format!("/data/more-{n}"))));
    let stats = lab.stats();
    let top: Vec<_> = stats.top_keys.iter().take(3).map(|t| (t.key.as_str(), t.count, t.error)).collect();
    assert_eq!(top, [("b", 5, 0), ("a", 3, 0), ("c", 2, 0)]);
    assert_eq!((stats.top_keys.len(), stats.total_keys, stats.shard_id.0), (10, 15, 2));
    assert_eq!((stats.total_accesses, stats.requests_received, stats.active_requests), (22, 22, 0));
    assert!((unix_now() as f64 - stats.started_at).abs() < 60.0 && stats.started_at.fract() != 0.0);
    assert_eq!(lab.metric("shard_requests_total{operation=\"get\",shard_id=\"2\"}"), 21.0);
    assert_eq!(lab.metric("shard_requests_total{operation=\"set\",shard_id=\"2\"}"), 1.0);
    assert_eq!(lab.metric("shard_request_duration_seconds_count{operation=\"get\",shard_id=\"2\"}"), 21.0);
    assert_eq!(lab.metric("shard_active_requests{shard_id=\"2\"}"), 0.0);
    assert_eq!(lab.metric("shard_stored_keys{shard_id=\"2\"}"), 15.0);
}

#[test]
fn two_starts_have_two_beginnings() {
    let started_at = || Lab::start(&[]).stats().started_at;
    assert_ne!(started_at(), started_at());
}

#[test]
fn a_page_cannot_reset_whatever_its_origin() {
    let lab = Lab::start(&[]);
    lab.get("/data/k");
    for origin in ["http://evil.example", "http://localhost:9010", "null", ""] {
        let head =
            format!("POST /admin/reset HTTP/1.1\r\nHost: x\r\nConnection: close\r\nOrigin: {origin}\r\n");
        let answer = lab.exchange(format!("{head}Content-Length: 0\r\n\r\n").as_bytes());
        assert_eq!(
            (answer.status, answer.json()["kind"].as_str()),
            (403, Some("origin_not_allowed")),
            "{origin}"
        );
        assert!(!answer.head.contains("access-control"), "{answer:?}");
    }
    assert_eq!((lab.stats().total_accesses, lab.stats().total_keys), (1, 1));
}

#[test]
fn a_reset_takes_counts_window_and_values_but_not_what_was_received() {
    let lab = Lab::start(&[]);
    lab.post("/data", r#"{"key":"k","value":{"old":true}}"#);
    (0..20).for_each(|_| drop(lab.get("/data/k")));
    assert_eq!(lab.stats().hot_keys.len(), 1);
    let reset = lab.post("/admin/reset", "");
    assert_eq!((reset.status, reset.json()), (200, json!({"status": "reset", "shard_id": 2})));
    let stats = lab.stats();
    assert_eq!((stats.total_keys, stats.total_accesses, stats.requests_received), (0, 0, 21));
    assert!(stats.top_keys.is_empty() && stats.hot_keys.is_empty(), "{stats:?}");
    assert_eq!(lab.metric("shard_requests_total{operation=\"get\",shard_id=\"2\"}"), 20.0);
    assert_eq!(lab.get("/data/k").json()["found"], false);
    assert_eq!(lab.stats().total_accesses, 1);
}

#[test]
fn a_full_shard_refuses_new_keys_and_serves_the_old() {
    for (limit, setting) in
        [("--shard-max-keys=1", "SHARD_MAX_KEYS"), ("--shard-max-bytes=170", "SHARD_MAX_BYTES")]
    {
        let lab = Lab::start(&[limit]);
        assert_eq!(lab.post("/data", r#"{"key":"old","value":{"v":1}}"#).status, 200);
        let write = lab.post("/data", r#"{"key":"new","value":{}}"#);
        assert_eq!((write.status, &write.json()["kind"]), (507, &json!("store_full")));
        assert!(write.body.contains(setting), "{write:?}");
        let read = lab.get("/data/new");
        assert_eq!((read.status, &read.json()["kind"]), (404, &json!("not_found")));
        assert_eq!(lab.post("/data", r#"{"key":"old","value":{"v":2}}"#).status, 200);
        assert_eq!(lab.get("/data/old").json()["value"]["v"], 2);
        let stats = lab.stats();
        assert_eq!((stats.requests_received, stats.requests_served, stats.requests_rejected), (5, 3, 2));
        assert_eq!(stats.total_accesses, 3);
        let absent = stats.top_keys.iter().find(|top| top.key.as_str() == "new");
        assert_eq!(absent.map(|top| top.count), Some(2), "accesses to absent keys count");
    }
}

#[test]
fn the_queue_holds_its_length_and_the_next_request_is_shed_at_once() {
    // One request is in service for a minute, two are waiting.
    let lab = Lab::start(&["--base-latency-ms=60000", "--shard-concurrency=1", "--shard-queue=2"]);
    let mut held = Vec::new();
    for n in 1..=3 {
        let mut stream = lab.connect();
        stream.write_all(&head("GET", "/data/k")).unwrap();
        held.push(stream);
        lab.stats_when(|stats| stats.active_requests == n);
    }
    let shed = lab.get("/data/k");
    assert_eq!((shed.status, &shed.json()["kind"]), (503, &json!("overloaded")));
    assert!(shed.head.contains("retry-after: 1"), "{}", shed.head);
    let stats = lab.stats();
    assert_eq!((stats.requests_received, stats.requests_shed, stats.total_accesses), (4, 1, 3));
    assert_eq!(lab.metric("shard_requests_shed_total{shard_id=\"2\"}"), 1.0);
    assert_eq!(lab.metric("shard_active_requests{shard_id=\"2\"}"), 3.0);
    // A waiting request whose client disconnects leaves the queue.
    reset(held.remove(2));
    lab.stats_when(|stats| stats.active_requests == 2);
}

#[test]
fn requests_in_flight_are_served_in_a_drain() {
    let lab = Lab::start(&["--base-latency-ms=300", "--shard-concurrency=1"]);
    let mut streams: Vec<_> = (0..3).map(|_| lab.connect()).collect();
    streams.iter_mut().for_each(|stream| stream.write_all(&head("GET", "/data/k")).unwrap());
    lab.stats_when(|stats| stats.active_requests == 3);
    let addr = lab.addr;
    let stopping = std::thread::spawn(move || lab.stop(Duration::from_secs(20)));
    until(|| std::net::TcpStream::connect(addr).err(), || "still accepting".into());
    let statuses: Vec<_> = streams.into_iter().map(|stream| answer(stream).status).collect();
    assert_eq!(statuses, [200, 200, 200]);
    assert_eq!(stopping.join().unwrap(), Vec::<String>::new());
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
