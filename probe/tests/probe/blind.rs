//! Tests that the probe reports when it does not see the shards' packets.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use probe::kernel::preflight;
use serde_json::Value;

use crate::harness::{TIMEOUT, privileges};
use crate::process::{Running, command, exchange};
use crate::shard::Shard;

/// How soon the probe must report it.
const SOON: Duration = Duration::from_secs(2);

/// An empty cgroup, removed at the end.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Self {
        let name = format!("hotlab-{name}-{}", std::process::id());
        let group = Self(preflight::cgroup(None).unwrap().join(name));
        group.make();
        group
    }

    fn make(&self) {
        std::fs::create_dir(&self.0).unwrap();
    }

    fn remove(&self) {
        std::fs::remove_dir(&self.0).unwrap();
    }

    fn probe(&self, url: &str, more: &[&str]) -> Command {
        let cgroup = self.0.to_str().unwrap();
        command(&[&["run", "--port", "0", "--cgroup", cgroup, "--shard-urls", url], more].concat())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The test may have removed it.
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn ready(probe: &Running) -> u16 {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    agent.get(format!("{}/ready", probe.base)).call().unwrap().status().as_u16()
}

fn within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn comparison(probe: &Running) -> Value {
    probe.json("/api/compare")["shards"][0].clone()
}

#[test]
fn a_socket_from_outside_the_cgroup_makes_the_probe_blind() {
    if !privileges("a_socket_from_outside_the_cgroup_makes_the_probe_blind") {
        return;
    }
    let group = Group::new("outside");
    let shard = Shard::start(0);
    let probe = Running::follow(&mut group.probe(&shard.url(), &[]));
    within(SOON, "not ready", || ready(&probe) == 503);
    exchange(&shard, 10);
    let blind = comparison(&probe);
    assert_eq!((&blind["agrees"], &blind["cause_kind"]), (&Value::Null, &"blind".into()), "{blind}");
    let status = probe.json("/status");
    assert!(status["blind"].as_str().unwrap().starts_with("the probe is blind for shard 0: "), "{status}");
    assert!(status["shards"][0]["problem"].as_str().unwrap().contains("outside the cgroup"), "{status}");
    let metrics = probe.text("/metrics");
    assert!(metrics.contains("probe_blind{shard_id=\"0\"} 1"), "{metrics}");
    assert!(!metrics.contains("reconciliation_agrees{"), "{metrics}");
    let addr = shard.addr;
    shard.stop();
    // A shard that is down is another problem.
    within(TIMEOUT, "still blind", || ready(&probe) == 200);
    assert_eq!(comparison(&probe)["cause_kind"], "shard_unreadable");
    let _again = Shard::start_at(addr, 0);
    within(SOON + Duration::from_secs(1), "not blind again", || ready(&probe) == 503);
    let (code, log) = probe.stop();
    assert_eq!((code, log.matches("ERROR").count() > 0), (Some(0), true), "{log}");
}

#[test]
fn a_cgroup_that_is_made_again_makes_the_probe_blind() {
    if !privileges("a_cgroup_that_is_made_again_makes_the_probe_blind") {
        return;
    }
    let group = Group::new("again");
    // No shard listens.
    let probe = Running::follow(&mut group.probe("http://127.0.0.1:9", &[]));
    assert_eq!(ready(&probe), 200);
    assert_eq!(probe.json("/status")["blind"], Value::Null);
    group.remove();
    group.make();
    within(SOON, "ready", || ready(&probe) == 503);
    let (status, blind) = (probe.json("/status"), comparison(&probe));
    assert!(status["blind"].as_str().unwrap().contains("was removed and made again"), "{status}");
    assert_eq!((&blind["agrees"], &blind["cause_kind"]), (&Value::Null, &"blind".into()), "{blind}");
    let programs = status["programs"].as_array().unwrap();
    assert!(programs.iter().all(|program| program["attached"] == false), "{status}");
    assert!(programs.iter().any(|program| program["reason"] == "cgroup_removed"), "{status}");
    let metrics = probe.text("/metrics");
    assert!(metrics.contains("probe_blind{shard_id=\"0\"} 1"), "{metrics}");
    assert!(
        metrics.contains(r#"probe_feature_enabled{feature="traffic",reason="cgroup_removed"} 0"#),
        "{metrics}"
    );
    assert!(!metrics.contains(r#"probe_feature_enabled{feature="traffic",reason="ok"}"#), "{metrics}");
    let (code, log) = probe.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("the probe is blind").count(), 1, "{log}");
}

#[test]
fn a_blind_probe_ends_with_1_where_it_is_told_to() {
    if !privileges("a_blind_probe_ends_with_1_where_it_is_told_to") {
        return;
    }
    let group = Group::new("ends");
    let mut probe = Running::follow(&mut group.probe("http://127.0.0.1:9", &["--exit-when-blind"]));
    assert_eq!(ready(&probe), 200);
    group.remove();
    let mut code = None;
    within(SOON + Duration::from_secs(1), "it still runs", || {
        code = probe.child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(1));
    // A shard that it never saw.
    group.make();
    let shard = Shard::start(0);
    let mut command = group.probe(&shard.url(), &[]);
    let mut child = command.env("EXIT_WHEN_BLIND", "on").stderr(Stdio::piped()).spawn().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{log}");
    assert!(log.contains("exits because it is blind"), "{log}");
}
