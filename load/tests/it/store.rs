//! Tests scenarios on a real Redis Cluster; reports must equal the nodes' own counts exactly.

use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::redis::{Server, cluster};
use crate::stub::{load, outcome, refusal};

/// Calls and rejected calls of a command, summed over the nodes.
fn calls(nodes: &[Server], command: &str) -> (u64, u64) {
    let of_node = |node: &Server| {
        let text = node.cli(&["info", "commandstats"]);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")).map(str::to_owned));
        let line = line.unwrap_or_default();
        let number = |name: &str| {
            let fields = line.trim().split(',').filter_map(|field| field.split_once('='));
            fields.filter(|(field, _)| *field == name).find_map(|(_, value)| value.parse::<u64>().ok())
        };
        (number("calls").unwrap_or_default(), number("rejected_calls").unwrap_or_default())
    };
    nodes.iter().map(of_node).fold((0, 0), |sum, node| (sum.0 + node.0, sum.1 + node.1))
}

/// Attempts for a run that is refused because the machine is too busy.
const ATTEMPTS: usize = 5;

/// Runs `run` with reset statistics until it has a report.
fn report_of(nodes: &[Server], run: impl Fn(&str) -> Output) -> Value {
    let store = format!("redis://{}", nodes[0].address);
    for attempt in 1.. {
        nodes.iter().for_each(|node| drop(node.cli(&["config", "resetstat"])));
        let output = run(&store);
        let is_busy = refusal(&output).is_some_and(|refusal| refusal.reason.is_busy_machine());
        if is_busy && attempt < ATTEMPTS {
            continue;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return serde_json::from_slice(&output.stdout).unwrap();
    }
    unreachable!("the loop ends by returning")
}

fn report(nodes: &[Server], args: &[&str]) -> Value {
    report_of(nodes, |store| load(&[args, &["--json", "-", "--store", store]].concat()))
}

fn sum(report: &Value, field: &str) -> u64 {
    report["shards"].as_array().unwrap().iter().map(|shard| shard[field].as_u64().unwrap()).sum()
}

#[test]
fn scenarios_report_what_the_nodes_counted() {
    let Some(nodes) = cluster("scenarios_report_what_the_nodes_counted", 3) else { return };
    for (scenario, keys) in [("uniform", 1_000), ("zipfian", 1_000), ("celebrity", 501)] {
        let report = report(&nodes, &["run", scenario, "--duration", "3", "--rate-factor", "2"]);
        let (gets, sets) = (calls(&nodes, "get"), calls(&nodes, "set"));
        assert_eq!(
            (report["errors"].as_u64(), report["answered"].as_u64()),
            (Some(0), Some(gets.0)),
            "{report}"
        );
        assert_eq!((sum(&report, "answered"), gets.1), (gets.0, 0), "{report}");
        // Each replica applies what its primary has written. A key that exists is not written again.
        assert_eq!(report["store"]["seeded"].as_u64(), Some(keys), "{scenario}");
        assert!((keys..=2 * keys).contains(&sets.0), "{scenario}: {sets:?}");
        assert_eq!(report["shards"].as_array().unwrap().len(), 3);
        for shard in report["shards"].as_array().unwrap() {
            let share = shard["answered"].as_f64().unwrap() / report["answered"].as_f64().unwrap();
            let predicted = shard["predicted_share"].as_f64().unwrap();
            assert!((share - predicted).abs() < 0.15, "{scenario}: {share} in place of {predicted}");
        }
    }
}

#[test]
fn a_client_side_cache_keeps_reads_from_the_nodes_and_writes_are_writes() {
    let test = "a_client_side_cache_keeps_reads_from_the_nodes";
    let Some(nodes) = cluster(test, 3) else { return };
    let cached = report(&nodes, &["run", "with-caching", "--duration", "3"]);
    let gets = calls(&nodes, "get").0;
    assert_eq!(sum(&cached, "upstream_requests"), gets, "{cached}");
    let hits = cached["cache_hits"].as_u64().unwrap() + cached["coalesced"].as_u64().unwrap();
    assert_eq!(cached["answered"].as_u64(), Some(gets + hits));
    assert!(hits > 290, "{cached}");

    let written = report(&nodes, &["run", "write-hot", "--duration", "3"]);
    let writer = written["streams"].as_array().unwrap().iter().find(|one| one["name"] == "writer").unwrap();
    let sets = calls(&nodes, "set").0;
    let seeded = written["store"]["seeded"].as_u64().unwrap();
    let mut sent = seeded + writer["answered"].as_u64().unwrap();
    // A replica applies each write once more. `SET NX` of a key that exists is none.
    assert!(sets >= sent && sets <= 2 * sent, "{sets} for {sent}");
    sent = written["answered"].as_u64().unwrap() - writer["answered"].as_u64().unwrap();
    assert_eq!((calls(&nodes, "get").0, written["errors"].as_u64()), (sent, Some(0)));

    let absent = report(&nodes, &["run", "celebrity-404", "--duration", "2"]);
    assert_eq!((absent["errors"].as_u64(), absent["answered"].as_u64()), (Some(0), Some(260)), "{absent}");
}

#[test]
fn a_failover_redirects_and_loses_nothing() {
    let Some(nodes) = cluster("a_failover_redirects_and_loses_nothing", 3) else { return };
    let report = report_of(&nodes, |store| {
        let replica_of = format!("master_port:{}", celebrity_owner(&nodes[0]));
        let is_replica = |node: &&Server| node.cli(&["info", "replication"]).contains(&replica_of);
        let replica = nodes.iter().find(is_replica).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
        command.args(["run", "celebrity", "--duration", "5", "--json", "-", "--store", store]).env_clear();
        let running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while calls(&nodes, "get").0 < 100 {
            thread::yield_now();
        }
        replica.cli(&["cluster", "failover"]);
        running.wait_with_output().unwrap()
    });
    let redirected = report["store"]["redirected"].as_u64().unwrap();
    assert!(redirected > 0 && report["errors"] == 0, "{report}");
    assert_eq!(calls(&nodes, "get"), (report["answered"].as_u64().unwrap(), redirected), "{report}");
}

/// The port of the node that owns the celebrity's slot.
fn celebrity_owner(node: &Server) -> String {
    let slot = node.cli(&["cluster", "keyslot", "celebrity-user-kardashian"]);
    let slots: Value = serde_json::from_str(&node.cli(&["--json", "cluster", "slots"])).unwrap();
    let slot: u64 = slot.trim().parse().unwrap();
    let owns = |range: &&Value| (range[0].as_u64().unwrap()..=range[1].as_u64().unwrap()).contains(&slot);
    slots.as_array().unwrap().iter().find(owns).unwrap()[2][1].to_string()
}

#[test]
fn what_cannot_be_loaded_is_one_line() {
    let store = |args: &[&str]| {
        let (line, code, _) = outcome(&load(&[&["run", "uniform", "--duration", "2"], args].concat()));
        (line, code)
    };
    let refused = crate::redis::free_port();
    let (line, code) = store(&["--store", &format!("redis://127.0.0.1:{refused}")]);
    assert!(line.contains("no connection") && line.trim().lines().count() == 1 && code == Some(1), "{line}");
    let (line, code) = store(&["--store", "redis://127.0.0.1", "--gateway", "http://127.0.0.1:1"]);
    assert!(
        line.contains("cannot be used with") && line.trim().lines().count() == 1 && code == Some(2),
        "{line}"
    );
    let Some(server) = Server::start("what_cannot_be_loaded_is_one_line", &["--requirepass", "secret"])
    else {
        return;
    };
    let (line, code) = store(&["--store", &format!("redis://{}", server.address)]);
    assert!(
        line.contains("requires a password") && line.trim().lines().count() == 1 && code == Some(1),
        "{line}"
    );
    let Some(single) = Server::start("what_cannot_be_loaded_is_one_line", &[]) else { return };
    let report = report(&[single], &["run", "uniform", "--duration", "2"]);
    assert_eq!((report["errors"].as_u64(), report["shards"][0]["answered"].as_u64()), (Some(0), Some(100)));
}
