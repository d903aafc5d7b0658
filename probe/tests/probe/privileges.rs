//! Tests every cell of the capability table in docs/limits.md.
//!
//! The expected cells come from the probe's status and from counts of real traffic.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::{TIMEOUT, get, privileges};
use crate::process::{ENOUGH, Reachable, Running, command, error_line, exchange, with_capabilities};
use crate::shard::Shard;
use crate::stats::Setting;

const LIMITS: &str = include_str!("../../../docs/limits.md");

/// The features of the table's columns, in their order.
const FEATURES: [&str; 9] = [
    "traffic",
    "requests",
    "keys",
    "latency",
    "reconciliation",
    "connections",
    "older_connections",
    "rtt",
    "program_stats",
];

/// Requests per row: 20 reads, and a write for every tenth read.
const READS: u32 = 20;
const WRITES: u64 = 2;

/// A row of the table: the user that starts the probe.
struct Row {
    name: &'static str,
    /// In the syntax of `setpriv`, for a user without other privileges. `None` means root with all of its own.
    capabilities: Option<&'static str>,
}

const ROWS: [Row; 7] = [
    Row { name: "none", capabilities: Some("-all") },
    Row { name: "BPF", capabilities: Some("+bpf") },
    Row { name: "BPF, NET_ADMIN", capabilities: Some("+bpf,+net_admin") },
    Row { name: "NET_ADMIN, PERFMON", capabilities: Some("+net_admin,+perfmon") },
    Row { name: "BPF, NET_ADMIN, PERFMON", capabilities: Some(ENOUGH) },
    Row { name: "SYS_ADMIN, NET_ADMIN", capabilities: Some("+sys_admin,+net_admin") },
    Row { name: "root", capabilities: None },
];

#[test]
fn every_cell_of_the_privileges_table_is_true() {
    if !privileges("every_cell_of_the_privileges_table_is_true") {
        return;
    }
    let copy = Reachable::new("privileges");
    // With the system's setting on, every row would have run statistics.
    let setting = Setting::set("0");
    let rows: Vec<String> = ROWS.iter().map(|row| row.line(copy.path())).collect();
    drop(setting);
    println!("{}", rows.join("\n"));
    let documented: Vec<&str> = LIMITS
        .lines()
        .skip_while(|line| !line.starts_with("| capabilities | starts |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(documented, rows, "docs/limits.md says otherwise");
}

impl Row {
    fn command(&self, copy: &Path, url: &str) -> Command {
        let arguments = ["run", "--port", "0", "--shard-urls", url, "--rtt", "on", "--program-stats", "on"];
        match self.capabilities {
            Some(capabilities) => with_capabilities(copy, capabilities, &arguments),
            None => command(&arguments),
        }
    }

    /// Starts the probe, sends traffic, and returns the expected line of the table.
    fn line(&self, copy: &Path) -> String {
        let shard = Shard::start(0);
        if self.lacks_any() {
            let output = self.command(copy, &shard.url()).output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{}", self.name);
            let line = error_line(&output);
            assert!(line.contains("this process lacks CAP_"), "{}: {line}", self.name);
            return format!("| {} | no |{} – |", self.name, " – |".repeat(FEATURES.len()));
        }
        // This connection is older than the probe.
        let mut older = TcpStream::connect(shard.addr).unwrap();
        older.set_read_timeout(Some(TIMEOUT)).unwrap();
        let bounding = capability_sets(std::process::id()).remove(3);
        let probe = Running::follow(&mut self.command(copy, &shard.url()));
        exchange(&shard, READS);
        older.write_all(&get("of-an-older-connection")).unwrap();
        assert!(older.read(&mut [0; 1024]).unwrap() > 0);
        let (status, counts) = (probe.json("/status"), probe.json("/api/shards")["shards"][0].clone());
        let compare = probe.json("/api/compare")["shards"][0].clone();
        let mut line = format!("| {} | yes |", self.name);
        for feature in FEATURES {
            let features = status["features"].as_array().unwrap();
            let said = features.iter().find(|row| row["feature"] == feature).unwrap();
            let works = works(feature, &counts, &compare, &status);
            assert_eq!(said["enabled"], works, "{}: {said}, {counts}, {compare}", self.name);
            line += if works { " yes |" } else { " – |" };
        }
        line += &format!(" {} |", self.left(probe.child.id(), &status, &bounding));
        assert_eq!(probe.stop().0, Some(0), "{}", self.name);
        line
    }

    /// Whether a required capability is missing, so that the probe must refuse to start.
    fn lacks_any(&self) -> bool {
        self.capabilities.is_some_and(|held| {
            let has = |name| held.contains(name) || name != "net_admin" && held.contains("sys_admin");
            !["bpf", "net_admin", "perfmon"].into_iter().all(has)
        })
    }

    /// The capability sets that are not empty in some thread of the running probe.
    fn left(&self, pid: u32, status: &Value, bounding: &str) -> String {
        let mut left = String::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let task = task.unwrap().file_name().into_string().unwrap().parse().unwrap();
            let sets = capability_sets(task);
            assert_eq!(sets[..3], ["0000000000000000"; 3], "{}: inherited, permitted, effective", self.name);
            assert_eq!(sets[4], "0000000000000000", "{}: ambient", self.name);
            let text = std::fs::read_to_string(format!("/proc/{task}/status")).unwrap();
            assert!(text.contains("NoNewPrivs:\t1"), "{}: {text}", self.name);
            left = if sets[3] == "0000000000000000" {
                "none".to_owned()
            } else {
                assert_eq!(sets[3], bounding, "{}: the bounding set is as it was, or empty", self.name);
                "bounding set".to_owned()
            };
        }
        assert_eq!(status["privileges"]["dropped"], true, "{}: {status}", self.name);
        left
    }
}

/// CapInh, CapPrm, CapEff, CapBnd, CapAmb of a thread.
fn capability_sets(task: u32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{task}/status")).unwrap();
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    let value = |set| text.lines().find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t")).unwrap();
    sets.map(|set| value(set).to_owned()).to_vec()
}

/// Whether the counts of the row's traffic are present and correct.
fn works(feature: &str, counts: &Value, compare: &Value, status: &Value) -> bool {
    let number = |place: &str| counts.pointer(place).and_then(Value::as_u64);
    // The reads of `exchange`, and one read of the older connection.
    let reads = u64::from(READS) + 1;
    match feature {
        "traffic" => {
            let all = ["/payload_bytes/receive", "/payload_bytes/transmit", "/packets/receive"];
            all.iter().all(|place| number(place).is_some_and(|count| count > reads))
        }
        "requests" => (number("/requests/get"), number("/requests/set")) == (Some(reads), Some(WRITES)),
        "keys" => {
            let keys = counts["top_keys"].as_array().unwrap();
            let read = |key: &str| keys.iter().any(|row| row["key"] == key && row["requests"] == 1);
            keys.len() == 10 && read("of-an-older-connection")
        }
        "latency" => counts["latency_ms"]["p50"].as_f64().is_some_and(|latency| latency > 0.0),
        "reconciliation" => compare["agrees"] == true && compare["kernel"] == reads + WRITES,
        "connections" => number("/connections/opened").is_some_and(|opened| opened >= 1),
        "older_connections" => number("/connections/older/seen") == Some(1),
        "rtt" => counts["rtt_ms"]["p50"].as_f64().is_some_and(|time| time > 0.0),
        "program_stats" => {
            let runs = status["itself"]["runs"].as_array();
            runs.is_some_and(|runs| runs.iter().any(|row| row["runs"].as_u64() > Some(reads)))
        }
        other => unreachable!("{other}"),
    }
}
