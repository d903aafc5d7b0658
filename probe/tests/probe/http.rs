//! Tests the probe's HTTP interface with counters from a list.
//!
//! No privileges are needed.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use probe::compare::gateway::GATEWAYS;
use probe::compare::stats_client::StatsClient;
use probe::compare::watch::Watch;
use probe::kernel::cgroup::Cgroup;
use probe::kernel::object::Switches;
use probe::metrics::ProbeMetrics;
use probe::probe::Probe;
use probe::routes;
use probe::serve::features::features;
use probe::serve::state::ApiState;
use probe::signal::key_table::KeyTable;
use probe::source::{Counters, ReplaySource};
use probe_common::connections::Connections;
use probe_common::latency::{Latency, bucket};
use probe_common::requests::{REASONS, Reason, Requests};
use probe_common::traffic::{Flow, Traffic};
use protocol::probe_api::{KernelKey, ProgramStatus};
use protocol::shard_urls::ShardUrls;
use serde_json::Value;
use service::members::Members;
use service::metrics::Metrics;
use service::server::{Server, Started};

use crate::shard::Shard;

pub(crate) struct Served {
    pub(crate) base: String,
    server: Option<Started>,
}

impl Served {
    fn get(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(format!("{}{path}", self.base)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.server.take().map(|server| server.stop(Duration::from_secs(2))));
    }
}

/// A probe of these shards, with one list of counters each.
pub(crate) fn serve(shards: &[String], readings: Vec<Vec<Counters>>) -> Served {
    let mut source = ReplaySource::default();
    for (shard, readings) in (0..).zip(readings) {
        readings.into_iter().for_each(|counters| source.push(shard, counters));
        let mut latency = Latency { sum: 102_000_000, ..Latency::default() };
        latency.buckets[bucket(1_000_000) as usize] = 98;
        latency.buckets[bucket(2_000_000) as usize] = 2;
        source.latencies.insert(shard, latency);
        let mut round_trips = Latency { sum: 300_000, ..Latency::default() };
        round_trips.buckets[bucket(30_000) as usize] = 10;
        source.round_trips.insert(shard, round_trips);
        let connections = Connections {
            opened: 9,
            closed: 5,
            aborted_connections: 2,
            retransmitted: 7,
            resets_received: 3,
            resets_sent: 1,
            preexisting_seen: 8,
            preexisting_closed: 6,
        };
        source.connections.insert(shard, connections);
        let key = |key: &str, requests, error| KernelKey { key: key.to_owned(), requests, error };
        let keys = [key("hot", 4, 0), key("warm", 2, 1)].into_iter();
        let mut table: KeyTable = keys.collect();
        table.evictions = 3;
        source.keys.insert(shard, table);
    }
    let urls = ShardUrls::parse(&shards.join(",")).unwrap();
    let metrics = Arc::new(Metrics::default());
    let probe_metrics = ProbeMetrics::register(&metrics, urls.count().get()).unwrap();
    let probe = Arc::new(Probe::new(
        urls.clone(),
        Cgroup::at("/cgroup".into()),
        Vec::new(),
        Switches { rtt: true, ..Switches::default() },
        probe_metrics,
        Box::new(source),
    ));
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN).unwrap();
    let base = format!("http://{}", server.local_addr());
    let (watch, comparisons) = Watch::new(Arc::clone(&probe), urls, StatsClient::default());
    let stats = StatsClient::default();
    let (health, tasks) = (server.health(), server.tasks());
    let background = parking_lot::Mutex::new(Some(watch));
    let shown = Arc::clone(&probe);
    metrics.before_exposition(move || shown.export());
    let server = server
        .start(move |worker| {
            if let Some(watch) = background.lock().take() {
                drop(worker.tasks.spawn("watch", watch.run(tasks.stopping())));
            }
            let state = ApiState {
                probe: Arc::clone(&probe),
                comparisons: comparisons.clone(),
                stats: stats.clone(),
                gateways: Arc::new(Members::parse(GATEWAYS, None).unwrap()),
            };
            routes::router(state, health.clone(), Arc::clone(&metrics))
        })
        .unwrap();
    Served { base, server: Some(server) }
}

pub(crate) fn counters(get: u64, set: u64) -> Counters {
    let mut unparsed = [0; REASONS];
    unparsed[Reason::Gap as usize] = 5;
    Counters {
        requests: Requests {
            get,
            set,
            control: 3,
            duplicate_segments: 4,
            aborted: 6,
            unparsed,
            ..Requests::default()
        },
        traffic: Traffic {
            receive: Flow { payload_bytes: 10, ip_bytes: 20, packets: 30 },
            transmit: Flow { payload_bytes: 40, ip_bytes: 50, packets: 60 },
        },
    }
}

#[test]
fn keys_are_listed_as_many_as_asked_for() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![counters(7, 2)]]);
    let expected = serde_json::json!({
        "shard_id": 0, "capacity": 8192, "used": 2, "evictions": 3, "keys": [{"key": "hot", "requests": 4, "error": 0}],
    });
    assert_eq!(served.json("/api/keys?limit=1")["shards"][0], expected);
    assert_eq!(served.json("/api/keys")["shards"][0]["keys"].as_array().unwrap().len(), 2);
    let (status, body) = served.get("/api/keys?limit=-1");
    assert_eq!(status, 400);
    assert!(body.contains("bad_request") && body.contains("limit=N"), "{body}");
}

#[test]
fn counters_are_shown_as_json_and_as_metrics() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![counters(7, 2)]]);
    let shards = served.json("/api/shards");
    let expected = serde_json::json!({
        "shard_id": 0, "address": shard.addr.to_string(), "requests": {"get": 7, "set": 2}, "control_requests": 3,
        "payload_bytes": {"receive": 10, "transmit": 40}, "ip_bytes": {"receive": 20, "transmit": 50},
        "packets": {"receive": 30, "transmit": 60}, "repeated_requests": 4, "aborted_requests": 6, "never_read_requests": 0,
        "unparsed": {"unreadable": 0, "joined": 0, "gap": 5, "chunked": 0, "malformed": 0, "budget": 0, "handshake": 0,
                     "urgent": 0, "unconfirmed": 0, "headers": 0,
                     "concurrent": 0, "target": 0, "closed": 0},
        "latency_ms": {"p50": 1.024, "p95": 1.024, "p99": 2.048, "count": 100},
        "connections": {"opened": 9, "closed": 5, "cut": 2, "open": 4, "retransmitted_segments": 7,
                        "resets": {"receive": 3, "transmit": 1}, "older": {"seen": 8, "closed": 6, "open": 2}},
        "rtt_ms": {"p50": 0.032, "p95": 0.032, "p99": 0.032, "count": 10},
        "top_keys": [{"key": "hot", "requests": 4, "error": 0}, {"key": "warm", "requests": 2, "error": 1}],
    });
    assert_eq!(shards["shards"][0], expected);
    assert!(shards["taken_at"].as_f64().unwrap() > 1e9);
    let (_, metrics) = served.get("/metrics");
    for line in [
        r#"kernel_shard_requests_total{operation="get",shard_id="0"} 7"#,
        r#"kernel_shard_requests_total{operation="set",shard_id="0"} 2"#,
        r#"kernel_shard_control_requests_total{shard_id="0"} 3"#,
        r#"kernel_shard_unparsed_total{reason="gap",shard_id="0"} 5"#,
        r#"kernel_shard_request_duration_seconds_bucket{shard_id="0",le="0.000768"} 0"#,
        r#"kernel_shard_request_duration_seconds_bucket{shard_id="0",le="0.001024"} 98"#,
        r#"kernel_shard_request_duration_seconds_bucket{shard_id="0",le="+Inf"} 100"#,
        r#"kernel_shard_request_duration_seconds_sum{shard_id="0"} 0.102"#,
        r#"kernel_shard_connections_opened_total{shard_id="0"} 9"#,
        r#"kernel_shard_connections_open{shard_id="0"} 4"#,
        r#"kernel_shard_retransmitted_segments_total{shard_id="0"} 7"#,
        r#"kernel_shard_resets_total{direction="receive",shard_id="0"} 3"#,
        r#"kernel_shard_older_connections_seen_total{shard_id="0"} 8"#,
        r#"kernel_shard_older_connections_open{shard_id="0"} 2"#,
        r#"kernel_shard_rtt_seconds_bucket{shard_id="0",le="0.000016"} 0"#,
        r#"kernel_shard_rtt_seconds_bucket{shard_id="0",le="0.000032"} 10"#,
        r#"kernel_shard_rtt_seconds_sum{shard_id="0"} 0.0003"#,
        r#"kernel_shard_payload_bytes_total{direction="transmit",shard_id="0"} 40"#,
        r#"kernel_shard_ip_bytes_total{direction="receive",shard_id="0"} 20"#,
        r#"kernel_shard_packets_total{direction="receive",shard_id="0"} 30"#,
        r#"probe_events_lost_total{reason="counters_unreadable"} 0"#,
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} is not in\n{metrics}");
    }
}

#[test]
fn an_agreement_is_fresh_firm_and_exported() {
    let shard = Shard::start(1_000);
    let served = serve(&[shard.url()], vec![vec![counters(7, 2)]]);
    let compare = served.json("/api/compare");
    let one = &compare["shards"][0];
    assert_eq!((&one["difference"], &one["bound"], &one["agrees"]), (&0.into(), &0.into(), &true.into()));
    assert_eq!((&one["shard_id"], &one["cause"]), (&0.into(), &Value::Null));
    assert!(compare["taken_at"].as_f64() >= one["since"].as_f64());
    assert_eq!(compare["hot_keys"]["shards"][0]["overlap_ratio"], Value::Null);
    let (_, metrics) = served.get("/metrics");
    for line in [
        r#"reconciliation_agrees{shard_id="0"} 1"#,
        r#"reconciliation_requests_bound{shard_id="0"} 0"#,
        r#"reconciliation_requests_difference{shard_id="0"} 0"#,
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} is not in\n{metrics}");
    }
    // The shard counts three requests that the kernel does not see.
    shard.received.fetch_add(3, std::sync::atomic::Ordering::SeqCst);
    let one = &served.json("/api/compare")["shards"][0];
    assert_eq!((&one["difference"], &one["agrees"]), (&(-3).into(), &false.into()));
    assert!(one["cause"].as_str().unwrap().contains("3"));
    assert!(served.get("/metrics").1.contains("reconciliation_agrees{shard_id=\"0\"} 0"));
}

#[test]
fn without_a_shard_there_is_no_verdict_and_no_series() {
    let gone = Shard::start(0).url();
    let served = serve(&[gone], vec![vec![counters(7, 2)]]);
    let one = &served.json("/api/compare")["shards"][0];
    assert_eq!((&one["agrees"], &one["difference"]), (&Value::Null, &Value::Null));
    assert!(one["cause"].as_str().unwrap().starts_with("the shard cannot be read: "), "{one}");
    let (_, metrics) = served.get("/metrics");
    assert!(!metrics.contains("reconciliation_agrees{"), "{metrics}");
    assert!(!metrics.contains(r#"probe_events_lost_total{reason="shard_unreadable"} 0"#), "{metrics}");
}

#[test]
fn unreadable_counters_are_said_and_counted() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![]]);
    assert_eq!(served.get("/api/shards").0, 503);
    let one = &served.json("/api/compare")["shards"][0];
    assert_eq!(one["agrees"], Value::Null);
    let (status, metrics) = served.get("/metrics");
    assert!(status == 200 && !metrics.contains(r#"{reason="counters_unreadable"} 0"#), "{metrics}");
}

#[test]
fn everything_else_is_refused_as_the_contract_says() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![counters(0, 0)]]);
    let (status, body) = served.get("/nothing");
    assert!(status == 404 && body.contains("no_such_route"), "{body}");
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    assert_eq!(agent.post(format!("{}/api/compare", served.base)).send_empty().unwrap().status(), 405);
    for path in ["/", "/live", "/ready", "/status"] {
        assert_eq!(served.get(path).0, 200, "{path}");
    }
    assert_eq!(served.json("/status")["shards"][0]["addresses"][0], shard.addr.to_string());
}

/// A probe whose program `program` was rejected, and its metrics.
fn lacking(program: &'static str) -> (Probe, Metrics) {
    let refused = ProgramStatus {
        program: program.into(),
        hook: "of no matter here".into(),
        required: false,
        attached: false,
        why: Some("the kernel refuses it".into()),
        reason: "refused".into(),
    };
    let urls = ShardUrls::parse("http://127.0.0.1:9000").unwrap();
    let metrics = Metrics::default();
    let probe_metrics = ProbeMetrics::register(&metrics, urls.count().get()).unwrap();
    let mut source = ReplaySource::default();
    source.push(0, counters(7, 2));
    if program != "socket_events" {
        source
            .connections
            .insert(0, Connections { opened: 4, preexisting_seen: 3, ..Connections::default() });
    }
    let probe = Probe::new(
        urls,
        Cgroup::at("/cgroup".into()),
        vec![refused],
        Switches::default(),
        probe_metrics,
        Box::new(source),
    );
    (probe, metrics)
}

#[test]
fn without_the_program_for_connections_the_rest_works() {
    let (probe, metrics) = lacking("socket_events");
    let features = features(&probe);
    let named = |name| features.iter().find(|feature| feature.feature == name).unwrap();
    assert_eq!((named("connections").enabled, &*named("connections").reason), (false, "refused"));
    assert_eq!((named("rtt").enabled, &*named("rtt").reason), (false, "switched_off"));
    assert!(["traffic", "requests", "latency", "reconciliation"].iter().all(|name| named(name).enabled));
    probe.export();
    let text = metrics.encode().unwrap();
    assert!(text.contains(r#"operation="get",shard_id="0"} 7"#), "{text}");
    assert!(!text.contains("kernel_shard_connections") && !text.contains("kernel_shard_rtt"), "{text}");
}

#[test]
fn without_the_program_for_older_connections_new_ones_count() {
    let (probe, metrics) = lacking("socket_released");
    let features = features(&probe);
    let named = |name| features.iter().find(|feature| feature.feature == name).unwrap();
    assert_eq!((named("older_connections").enabled, &*named("older_connections").reason), (false, "refused"));
    assert!(["connections", "requests"].iter().all(|name| named(name).enabled));
    probe.export();
    let text = metrics.encode().unwrap();
    assert!(text.contains(r#"kernel_shard_connections_opened_total{shard_id="0"} 4"#), "{text}");
    assert!(!text.contains("kernel_shard_older_connections"), "{text}");
}
