//! Tests the probe's metrics about itself: program costs, map fill, losses.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use probe::compare::stats_client::StatsClient;
use probe::compare::watch::Watch;
use probe::kernel::cgroup::Cgroup;
use probe::kernel::object::Switches;
use probe::kernel::statistics::Statistics;
use probe::metrics::ProbeMetrics;
use probe::probe::Probe;
use probe::source::{Counters, ReplaySource};
use protocol::shard_urls::ShardUrls;
use serde_json::Value;
use service::metrics::Metrics;

use crate::harness::privileges;
use crate::process::{ENOUGH, Reachable, Running, command, exchange, with_capabilities};
use crate::shard::Shard;

const SETTING: &str = "/proc/sys/kernel/bpf_stats_enabled";

fn feature(status: &Value) -> Value {
    let features = status["features"].as_array().unwrap();
    features.iter().find(|feature| feature["feature"] == "program_stats").unwrap().clone()
}

/// The value of a series.
fn value(metrics: &str, series: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[test]
fn runs_and_their_time_are_shown_after_all_privileges_are_gone() {
    if !privileges("runs_and_their_time_are_shown_after_all_privileges_are_gone") {
        return;
    }
    let shard = Shard::start(0);
    let url = shard.url();
    let arguments = ["run", "--port", "0", "--shard-urls", &url, "--program-stats", "on"];
    let probe = Running::follow(&mut command(&arguments));
    exchange(&shard, 100);
    let packets = probe.json("/api/shards")["shards"][0]["packets"]["receive"].as_u64().unwrap();
    let status = probe.json("/status");
    assert_eq!(status["privileges"]["effective"], "0000000000000000", "{status}");
    assert_eq!(feature(&status)["reason"], "ok", "{status}");
    let runs = status["itself"]["runs"].as_array().unwrap();
    let names: Vec<&Value> = runs.iter().map(|row| &row["program"]).collect();
    assert_eq!(names[..3], ["ingress", "egress", "socket_events"], "{runs:?}");
    assert_eq!(runs.len(), status["programs"].as_array().unwrap().len(), "{status}");
    // The programs see the packets of all sockets. A batch of segments is one run.
    assert!(packets > 100 && runs[0]["runs"].as_u64().unwrap() >= 100, "{packets} packets, {runs:?}");
    assert!(runs[0]["run_seconds"].as_f64().unwrap() > 0.0, "{runs:?}");
    let maps = status["itself"]["maps"].as_array().unwrap();
    let shards = maps.iter().find(|map| map["map"] == "SHARDS").unwrap();
    assert_eq!((&shards["entries"], &shards["max_entries"]), (&1.into(), &256.into()));
    assert_eq!(status["itself"]["events_lost"]["counters_unreadable"], 0, "{status}");
    let metrics = probe.text("/metrics");
    for name in ["ingress", "egress", "socket_events"] {
        for family in ["probe_program_runs_total", "probe_program_run_seconds_total"] {
            let series = format!("{family}{{program=\"{name}\"}}");
            assert!(value(&metrics, &series).is_some_and(|value| value > 0.0), "{series} in {metrics}");
        }
    }
    assert_eq!(value(&metrics, "probe_map_entries{map=\"SHARDS\"}"), Some(1.0));
    assert_eq!(value(&metrics, "probe_map_max_entries{map=\"SHARDS\"}"), Some(256.0));
    assert_eq!(value(&metrics, "probe_feature_enabled{feature=\"program_stats\",reason=\"ok\"}"), Some(1.0));
}

#[test]
fn unless_they_are_asked_for_the_families_are_absent() {
    if !privileges("unless_they_are_asked_for_the_families_are_absent") {
        return;
    }
    let shard = Shard::start(0);
    let probe = Running::start(&shard);
    let status = probe.json("/status");
    let feature = feature(&status);
    assert_eq!((&feature["enabled"], &feature["reason"]), (&false.into(), &"switched_off".into()));
    assert_eq!(feature["remedy"], "start the probe with PROGRAM_STATS=on", "{status}");
    assert_eq!(status["itself"].get("runs"), None, "{status}");
    let metrics = probe.text("/metrics");
    assert!(!metrics.contains("probe_program_run"), "{metrics}");
    assert_eq!(
        value(&metrics, "probe_feature_enabled{feature=\"program_stats\",reason=\"switched_off\"}"),
        Some(0.0)
    );
}

/// Serializes the tests that change the system's setting.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Changes the system's setting. Dropping it restores the old value.
pub(crate) struct Setting {
    before: String,
    _turn: MutexGuard<'static, ()>,
}

impl Setting {
    pub(crate) fn set(value: &str) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::fs::read_to_string(SETTING).unwrap();
        std::fs::write(SETTING, value).unwrap();
        Self { before, _turn: turn }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // Errors during a failing test are ignored.
        let _ = std::fs::write(SETTING, &self.before);
    }
}

#[test]
fn without_the_privilege_the_systems_switch_decides() {
    if !privileges("without_the_privilege_the_systems_switch_decides") {
        return;
    }
    let copy = Reachable::new("statistics");
    let shard = Shard::start(0);
    let url = shard.url();
    let start = || {
        let arguments = ["run", "--port", "0", "--shard-urls", &url, "--program-stats", "on"];
        Running::follow(&mut with_capabilities(copy.path(), ENOUGH, &arguments))
    };
    {
        let _off = Setting::set("0");
        let probe = start();
        let status = probe.json("/status");
        let feature = feature(&status);
        assert_eq!((&feature["enabled"], &feature["reason"]), (&false.into(), &"needs CAP_SYS_ADMIN".into()));
        assert!(feature["remedy"].as_str().unwrap().contains("sysctl kernel.bpf_stats_enabled=1"));
        assert_eq!(status["itself"].get("runs"), None, "{status}");
        assert!(!probe.text("/metrics").contains("probe_program_run"));
    }
    let _on = Setting::set("1");
    let probe = start();
    exchange(&shard, 20);
    let status = probe.json("/status");
    assert_eq!(feature(&status)["reason"], "ok", "{status}");
    assert_eq!(status["itself"]["runs"][0]["program"], "ingress", "{status}");
    assert!(status["itself"]["runs"][0]["runs"].as_u64().unwrap() >= 20, "{status}");
}

/// A probe of a shard that does not listen.
fn probe_of(source: ReplaySource) -> (Arc<Probe>, ShardUrls, Metrics) {
    let urls = ShardUrls::parse(&Shard::start(0).url()).unwrap();
    let metrics = Metrics::default();
    let probe_metrics = ProbeMetrics::register(&metrics, urls.count().get()).unwrap();
    let probe = Probe::new(
        urls.clone(),
        Cgroup::at("/cgroup".into()),
        Vec::new(),
        Switches::default(),
        probe_metrics,
        Box::new(source),
    )
    .with_statistics(Statistics::On(None));
    (Arc::new(probe), urls, metrics)
}

#[tokio::test]
async fn every_loss_is_counted() {
    let mut source = ReplaySource::default();
    source.refuses_endpoints = true;
    let (probe, urls, metrics) = probe_of(source);
    assert!(probe.metrics.events_lost().values().all(|lost| *lost == 0));
    let (mut watch, _comparisons) = Watch::new(Arc::clone(&probe), urls, StatsClient::default());
    watch.first_look().await;
    probe.export();
    let lost = probe.metrics.events_lost();
    assert_eq!(lost["watch_failed"], 1, "{lost:?}");
    assert_eq!(lost["runs_unreadable"], 1, "{lost:?}");
    assert!(lost["counters_unreadable"] >= 1, "{lost:?}");
    let text = metrics.encode().unwrap();
    for (reason, count) in lost {
        assert!(value(&text, &format!("probe_events_lost_total{{reason=\"{reason}\"}}")).is_some(), "{text}");
        assert!(count > 0 || ["shard_unreadable", "address_over_limit"].contains(&reason), "{reason}");
    }
}

#[tokio::test]
async fn a_shard_that_is_not_there_is_a_loss() {
    let mut source = ReplaySource::default();
    source.push(0, Counters::default());
    let (probe, urls, _metrics) = probe_of(source);
    let (mut watch, _comparisons) = Watch::new(Arc::clone(&probe), urls, StatsClient::default());
    watch.first_look().await;
    let lost = probe.metrics.events_lost();
    assert!(lost["shard_unreadable"] >= 1 && lost["counters_unreadable"] == 0, "{lost:?}");
}
