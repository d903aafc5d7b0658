//! Tests traces: one per request, lost spans counted and harmless.

use lab_tests::collector::{Collector, Received, attribute, with_tls};
use lab_tests::lab::{Lab, Options};
use lab_tests::poll;
use lab_tests::process::{Signal, TestProcess as _};
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpListener;

/// OTLP's numbers for span kinds and for the status "error".
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;

/// Export intervals in ms: for tests that wait for spans, and for tests that stop the lab instead.
const AT_ONCE: &str = "50";
const NEVER: &str = "600000";

fn options(endpoint: &str, delay: &str, more: &[(&'static str, &str)]) -> Options {
    let mut settings = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", delay.to_owned()),
    ];
    settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Options { shard: settings.clone(), gateway: settings, ..Options::default() }
}

async fn get(lab: &Lab, path: &str) -> (u16, Value) {
    let answer = lab.client.get(lab.at_gateway(path)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The only span of this kind from `service`.
fn only<'a>(spans: &'a [Received], service: &str, kind: i32) -> &'a Received {
    let mut found = spans.iter().filter(|one| one.service == service && one.span.kind == kind);
    let first = found.next().unwrap_or_else(|| panic!("no span of {service}: {spans:#?}"));
    assert!(found.next().is_none(), "{spans:#?}");
    first
}

/// Asserts that these are the three spans of one read of `key`. Returns the gateway's first span.
fn assert_one_trace<'a>(spans: &'a [Received], lab: &Lab, key: &str, shard: usize) -> &'a Received {
    let name = format!("shard-{shard}");
    let (gateway, call, served) =
        (only(spans, "api-gateway", SERVER), only(spans, "api-gateway", CLIENT), only(spans, &name, SERVER));
    assert_eq!(call.span.parent_span_id, gateway.span.span_id);
    assert_eq!(served.span.parent_span_id, call.span.span_id);
    for span in [gateway, call, served] {
        assert_eq!(span.span.trace_id, gateway.span.trace_id);
        assert_eq!(span.span.name, "GET /data/{key}");
        let shard = shard.to_string();
        let expected = [
            ("shard.id", shard.as_str()),
            ("key", key),
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
        ];
        for (attribute, value) in expected {
            assert_eq!(span.attribute(attribute), value, "{attribute}: {span:#?}");
        }
        assert!(span.span.end_time_unix_nano >= span.span.start_time_unix_nano);
        assert!(span.span.status.as_ref().is_none_or(|status| status.code != ERROR), "{span:#?}");
    }
    for server in [gateway, served] {
        assert_eq!(server.attribute("http.route"), "/data/{key}");
    }
    assert_eq!(call.attribute("server.address"), "127.0.0.1");
    assert_eq!(call.attribute("server.port"), lab.shard_addrs()[shard].port().to_string());
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_one_trace_of_three_spans_and_a_cached_one_has_no_call() {
    let (collector, endpoint) = Collector::grpc().await;
    let lab = Lab::start(options(&endpoint, AT_ONCE, &[("CACHE_ENABLED", "true")])).await;
    assert_eq!(get(&lab, "/data/test-key").await.0, 200);
    let spans = collector.exactly(3).await;
    let gateway = assert_one_trace(&spans, &lab, "test-key", 3);
    assert_eq!((gateway.attribute("cache_hit"), gateway.span.parent_span_id.len()), ("false".into(), 0));

    assert_eq!(get(&lab, "/data/test-key").await.1["cache_hit"], true);
    let cached = collector.exactly(4).await.pop().unwrap();
    assert_eq!((cached.span.kind, cached.attribute("cache_hit")), (SERVER, "true".into()));
    assert_ne!(cached.span.trace_id, spans[0].span.trace_id);

    let (shard, call) = (only(&spans, "shard-3", SERVER), only(&spans, "api-gateway", CLIENT));
    let instance = |one: &Received| attribute(&one.resource, "service.instance.id");
    assert_eq!(instance(gateway), instance(call), "one process");
    assert_ne!(instance(gateway), instance(shard));
    assert_eq!(instance(gateway).len(), 32);
    assert_eq!(attribute(&shard.resource, "service.version"), env!("CARGO_PKG_VERSION"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_reached_by_tls_if_its_certificate_is_trusted() {
    let trusted = tempfile::NamedTempFile::new().unwrap();
    for protocol in ["grpc", "http/protobuf"] {
        let (collector, plain) =
            if protocol == "grpc" { Collector::grpc().await } else { Collector::http().await };
        let (endpoint, certificate) = with_tls(&plain).await;
        std::fs::write(trusted.path(), certificate).unwrap();
        let file = trusted.path().to_str().unwrap();
        let more = [("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), ("OTEL_EXPORTER_OTLP_CERTIFICATE", file)];
        let lab = Lab::start(options(&endpoint, AT_ONCE, &more)).await;
        assert_eq!(get(&lab, "/data/test-key").await.0, 200);
        assert_one_trace(&collector.exactly(3).await, &lab, "test-key", 3);
        // Labs run one at a time.
        drop(lab);

        let (collector, plain) = Collector::grpc().await;
        let (endpoint, _) = with_tls(&plain).await;
        let lab = Lab::start(options(&endpoint, AT_ONCE, &more[1..])).await;
        assert_eq!(get(&lab, "/data/test-key").await.0, 200);
        let failed = poll::until(Duration::from_secs(20), || async {
            let failed = counted(&lab, "failed").await;
            if failed == 2 { Ok(()) } else { Err(format!("{failed} failed")) }
        });
        failed.await.unwrap();
        assert_eq!(collector.spans().len(), 0, "another certificate");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_for_traces_has_priority_and_one_without_effect_is_named() {
    let ((collector, endpoint), (other, _)) = (Collector::http().await, Collector::grpc().await);
    let whole = format!("{endpoint}/v1/traces");
    let more = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", whole.as_str()),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-1,service.version=7"),
        ("OTEL_TRACES_SAMPLER", ""),
    ];
    let mut lab = Lab::start(options("http://127.0.0.1:1", AT_ONCE, &more)).await;
    assert_eq!(get(&lab, "/data/test-key").await.0, 200);
    let spans = collector.exactly(3).await;
    assert_one_trace(&spans, &lab, "test-key", 3);
    let of = |name| attribute(&spans[0].resource, name);
    assert_eq!((of("service.instance.id").as_str(), of("service.version").as_str()), ("pod-1", "7"));
    assert_eq!(other.spans().len(), 0);
    lab.gateway.signal(Signal::TERM);
    assert!(lab.gateway.ended(Duration::from_secs(20)).await.success());
    let log = lab.gateway.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("\"WARN\"")).collect();
    assert!(
        warnings.len() == 1 && warnings[0].contains("OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_PROPAGATORS"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tracing_is_off_if_the_sdk_is_disabled_or_there_is_no_exporter() {
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        let (collector, endpoint) = Collector::grpc().await;
        let mut lab = Lab::start(options(&endpoint, AT_ONCE, &[off])).await;
        assert_eq!(get(&lab, "/data/test-key").await.0, 200);
        for process in lab.parts_mut() {
            process.signal(Signal::TERM);
            assert!(process.ended(Duration::from_secs(20)).await.success());
        }
        assert_eq!(collector.spans().len(), 0, "{off:?}");
        assert!(lab.gateway.log().contains("OTEL_EXPORTER_OTLP_ENDPOINT"), "{}", lab.gateway.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drain_sends_what_waits_and_the_callers_trace_goes_on() {
    let (collector, endpoint) = Collector::http().await;
    let http = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
    let mut lab = Lab::start(options(&endpoint, NEVER, &http)).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = lab.client.get(lab.at_gateway("/data/test-key")).header("traceparent", parent).send().await;
    assert_eq!(answer.unwrap().status(), 200);
    assert!(collector.spans().is_empty(), "nothing is sent before its time");
    for process in lab.parts_mut() {
        process.signal(Signal::TERM);
        assert!(process.ended(Duration::from_secs(20)).await.success());
    }
    let spans = collector.exactly(3).await;
    let gateway = assert_one_trace(&spans, &lab, "test-key", 3);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (trace, caller) = (hex(&gateway.span.trace_id), hex(&gateway.span.parent_span_id));
    assert_eq!(format!("00-{trace}-{caller}-01"), parent);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_anothers_fetch_says_so_and_points_to_it() {
    const READERS: usize = 10;
    let (collector, endpoint) = Collector::grpc().await;
    let mut options = options(&endpoint, AT_ONCE, &[("CACHE_ENABLED", "true")]);
    options.shard.push(("BASE_LATENCY_MS", "600".to_owned()));
    let lab = Lab::start(options).await;
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (client, url) = (lab.client.clone(), lab.at_gateway("/data/test-key"));
            tokio::spawn(async move { client.get(url).send().await.unwrap().status().as_u16() })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 200);
    }
    let spans = collector.exactly(READERS + 2).await;
    let call = only(&spans, "api-gateway", CLIENT);
    let mut waited = 0;
    for reader in spans.iter().filter(|one| one.service == "api-gateway" && one.span.kind == SERVER) {
        if reader.attribute("cache.coalesced") == "true" {
            waited += 1;
            assert_ne!(reader.span.trace_id, call.span.trace_id);
            assert_eq!((reader.span.links.len(), &reader.span.links[0].trace_id), (1, &call.span.trace_id));
            assert_eq!(reader.span.links[0].span_id, call.span.parent_span_id);
        } else {
            assert_eq!(reader.span.span_id, call.span.parent_span_id);
        }
    }
    assert_eq!(waited, READERS - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_named_and_a_change_is_an_event_of_its_request() {
    let (collector, endpoint) = Collector::grpc().await;
    let mut lab = Lab::start(options(&endpoint, AT_ONCE, &[])).await;
    let change = lab.client.post(lab.at_gateway("/admin/cache")).body(r#"{"ttl_seconds":7}"#).send().await;
    assert_eq!(change.unwrap().status(), 200);
    let change = collector.exactly(1).await.remove(0);
    assert_eq!((change.span.name.as_str(), change.span.kind), ("POST /admin/cache", SERVER));
    assert_eq!(change.attribute("http.response.status_code"), "200");
    let event = &change.span.events[0];
    assert_eq!(
        (event.name.as_str(), attribute(&event.attributes, "reason").as_str()),
        ("mitigation changed", "request")
    );
    assert!(attribute(&event.attributes, "now").contains("ttl_seconds: 7"), "{event:?}");

    lab.shards[3].signal(Signal::KILL);
    lab.shards[3].ended(Duration::from_secs(20)).await;
    assert_eq!(get(&lab, "/data/test-key").await.0, 503);
    let spans = collector.exactly(3).await;
    let (gateway, call) = (only(&spans[1..], "api-gateway", SERVER), only(&spans, "api-gateway", CLIENT));
    assert_eq!(
        (gateway.attribute("error.type"), call.attribute("error.type")),
        ("shard_unavailable".into(), "unavailable".into())
    );
    assert_eq!(gateway.attribute("http.response.status_code"), "503");
    for span in [gateway, call] {
        assert_eq!(span.span.status.as_ref().unwrap().code, ERROR);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nobody_asked_for_has_a_span_of_its_own() {
    let (collector, endpoint) = Collector::grpc().await;
    let lab = Lab::start(options(&endpoint, AT_ONCE, &[])).await;
    let auto = lab.client.post(lab.at_gateway("/admin/mitigation")).body(r#"{"auto":true}"#).send().await;
    assert_eq!(auto.unwrap().status(), 200);
    // One second with 130 requests is enough. The longer duration is for busy machines.
    lab.load_started(&["run", "celebrity", "--duration", "8"]).ended().await;
    let change = poll::until(Duration::from_secs(20), || async {
        let found = collector.spans().into_iter().find(|one| one.span.name == "mitigation change");
        found.ok_or_else(|| format!("not among {} spans", collector.spans().len()))
    });
    let change = change.await.unwrap();
    assert_eq!((change.service.as_str(), change.span.parent_span_id.len()), ("api-gateway", 0));
    assert_eq!(attribute(&change.span.events[0].attributes, "reason"), "auto", "{change:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampler_of_nothing_sends_nothing() {
    let (collector, endpoint) = Collector::grpc().await;
    let none = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let mut lab = Lab::start(options(&endpoint, NEVER, &none)).await;
    for n in 0..20 {
        assert_eq!(get(&lab, &format!("/data/key-{n}")).await.0, 200);
    }
    for process in lab.parts_mut() {
        process.signal(Signal::TERM);
        assert!(process.ended(Duration::from_secs(20)).await.success());
    }
    assert_eq!(collector.spans().len(), 0);
}

/// The gateway's `service_spans_total` for `outcome`.
async fn counted(lab: &Lab, outcome: &str) -> u64 {
    let text = lab.client.get(lab.at_gateway("/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("service_spans_total{{outcome=\"{outcome}\"}} ")));
    line.unwrap_or_else(|| panic!("no such count: {text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_collector_all_is_answered_and_the_loss_is_said_once() {
    // The port is bound and released, so no process listens there.
    let endpoint = {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}", free.local_addr().unwrap())
    };
    let mut lab = Lab::start(options(&endpoint, AT_ONCE, &[])).await;
    let mut lost = 0;
    for round in 1..=3 {
        for n in 0..10 {
            assert_eq!(get(&lab, &format!("/data/key-{round}-{n}")).await.0, 200);
        }
        let failed = poll::until(Duration::from_secs(20), || async {
            let failed = counted(&lab, "failed").await;
            if failed > lost { Ok(failed) } else { Err(format!("{failed} failed")) }
        });
        lost = failed.await.unwrap();
    }
    assert_eq!((counted(&lab, "exported").await, counted(&lab, "dropped").await), (0, 0));
    lab.gateway.signal(Signal::TERM);
    assert!(lab.gateway.ended(Duration::from_secs(20)).await.success());
    let log = lab.gateway.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("\"WARN\"")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("spans are lost"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_spans_and_nothing_else() {
    // The kernel accepts connections for this listener, and no process answers.
    let stuck = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", stuck.local_addr().unwrap());
    let small = [
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5"),
        ("DRAIN_TIMEOUT_SECONDS", "2"),
    ];
    let mut lab = Lab::start(options(&endpoint, AT_ONCE, &small)).await;
    for n in 0..50 {
        assert_eq!(get(&lab, &format!("/data/key-{n}")).await.0, 200);
    }
    // Each read creates two spans. At most 5 are in flight in one batch, and 10 are queued.
    let dropped = counted(&lab, "dropped").await;
    assert!((85..=100).contains(&dropped), "{dropped}");
    lab.gateway.signal(Signal::TERM);
    assert!(lab.gateway.ended(Duration::from_secs(20)).await.success(), "{}", lab.gateway.log());
    assert!(
        lab.gateway.log().contains("the drain timeout expired before all spans were sent"),
        "{}",
        lab.gateway.log()
    );
}
