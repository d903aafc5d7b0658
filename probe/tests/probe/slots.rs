//! Tests a store with more shards than the kernel's maps have slots.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use probe::kernel::object::Switches;
use probe::source::{KernelSource, Source};
use probe_common::MAX_SHARDS;
use probe_common::endpoint::{Endpoint, Listener};
use serde_json::{Value, json};

use crate::api_server::ApiServer;
use crate::bpffs::Bpffs;
use crate::harness::{Client, Server, TIMEOUT, attached_with, privileges};
use crate::pods;
use crate::process::{Running, command};
use crate::shard::Shard;

/// Shards of the store.
const SHARDS: u32 = 200;

const READ: &[u8] = b"GET /data/key HTTP/1.1\r\nhost: shard\r\n\r\n";

fn pod(shard: u32, ip: &str, port: u16) -> Value {
    json!({
        "metadata": {
            "name": format!("shard-{shard}"), "namespace": "lab",
            "labels": {"apps.kubernetes.io/pod-index": shard.to_string()},
        },
        "spec": {"nodeName": "node-7", "containers": [{"name": "shard", "ports": [{"name": "http", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}
    })
}

fn probe(api: &ApiServer, pin: &Path) -> Command {
    let urls: Vec<String> = (0..SHARDS).map(|shard| format!("http://shard-{shard}.invalid:9000")).collect();
    let mut command = pods::probe(api, &urls.join(","));
    command.arg("--pin").arg(pin);
    command
}

fn read(ip: &str, port: u16, times: usize) {
    for n in 0..times {
        let url = format!("http://{ip}:{port}/data/key-{n}");
        ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap();
    }
}

/// The reads of these shards.
fn counted<const N: usize>(probe: &Running, shards: [usize; N]) -> [u64; N] {
    let all = probe.json("/api/shards");
    shards.map(|shard| all["shards"][shard]["requests"]["get"].as_u64().unwrap())
}

/// The shards in the report to the aggregator.
fn reported(probe: &Running) -> Vec<u64> {
    let report = probe.json("/api/node");
    report["shards"].as_array().unwrap().iter().map(|shard| shard["shard_id"].as_u64().unwrap()).collect()
}

#[track_caller]
fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time");
        std::thread::yield_now();
    }
}

#[test]
fn a_probe_counts_the_shards_of_its_node_in_a_store_of_200() {
    if !privileges("a_probe_counts_the_shards_of_its_node_in_a_store_of_200") {
        return;
    }
    // One process that any loopback address reaches.
    let shard = Shard::start_at("0.0.0.0:0".parse().unwrap(), 0);
    let port = shard.addr.port();
    let (api, bpffs) = (ApiServer::start("slots"), Bpffs::mount());
    for (id, ip) in [(7, "127.0.0.61"), (150, "127.0.0.62"), (199, "127.0.0.63")] {
        api.apply(pod(id, ip, port));
    }
    let mut first = Running::follow(&mut probe(&api, &bpffs.folder()));
    read("127.0.0.61", port, 3);
    read("127.0.0.62", port, 5);
    read("127.0.0.63", port, 8);
    assert_eq!(counted(&first, [7, 150, 199, 0, 1, 198]), [3, 5, 8, 0, 0, 0]);
    assert_eq!(reported(&first), [7, 150, 199]);
    let keys = first.json("/api/keys?limit=100&fresh=true");
    let names = |shard: usize| keys["shards"][shard]["keys"].as_array().map_or(0, Vec::len);
    assert_eq!([7, 150, 199, 0].map(names), [3, 5, 8, 0]);
    let metrics = first.text("/metrics");
    let series = |shard: u32| {
        let label = format!("operation=\"get\",shard_id=\"{shard}\"}}");
        metrics
            .lines()
            .filter(|line| line.starts_with("kernel_shard_requests_total{") && line.contains(&label))
            .count()
    };
    assert_eq!([7, 150, 199, 0, 1, 198].map(series), [1, 1, 1, 0, 0, 0]);
    let compare = first.json("/api/compare");
    assert_eq!(compare["shards"].as_array().unwrap().len(), SHARDS as usize);
    assert_eq!(compare["shards"][1]["cause_kind"], "unwatched");

    // Shard 150 moves to another node. What it counted stays, and so do the others.
    api.delete("shard-150");
    until(|| first.json("/status")["shards"][150]["addresses"] == json!([]));
    read("127.0.0.62", port, 9);
    assert_eq!(counted(&first, [7, 150, 199]), [3, 5, 8]);
    api.apply(pod(150, "127.0.0.62", port));
    api.apply(pod(64, "127.0.0.64", port));
    until(|| first.json("/status")["shards"][64]["addresses"] != json!([]));

    // The kernel counts on for each shard while no probe runs, and the next probe knows the slots.
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    read("127.0.0.62", port, 2);
    read("127.0.0.64", port, 4);
    let second = Running::follow(&mut probe(&api, &bpffs.folder()));
    let pinned = second.json("/status")["counting"]["pinned"].clone();
    assert_eq!((&pinned["adopted"], &pinned["removed_because"]), (&true.into(), &Value::Null), "{pinned}");
    assert_eq!(counted(&second, [7, 64, 150, 199]), [3, 4, 7, 8]);
    assert_eq!(reported(&second), [7, 64, 150, 199]);
}

#[test]
fn more_shards_on_a_node_than_slots_are_logged_and_shown() {
    if !privileges("more_shards_on_a_node_than_slots_are_logged_and_shown") {
        return;
    }
    let urls: Vec<String> = (0..=MAX_SHARDS).map(|n| format!("http://127.0.0.1:{}", 20_000 + n)).collect();
    let probe = Running::follow(&mut command(&["run", "--port", "0", "--shard-urls", &urls.join(",")]));
    let problem = "it is not watched: a probe has room for 64 shards on its node";
    assert!(probe.started.contains(problem), "{}", probe.started);
    let last = probe.json("/api/compare")["shards"][MAX_SHARDS as usize].clone();
    assert_eq!(last["cause_kind"], "unwatched");
    assert!(last["cause"].as_str().unwrap().ends_with(problem), "{last}");
    let lost = "probe_events_lost_total{reason=\"address_over_limit\"} 1";
    assert!(probe.text("/metrics").lines().any(|line| line == lost));
    let unwatched = probe.json("/api/node")["unwatched"].clone();
    assert_eq!(unwatched, json!([{"problem": problem, "shards": [[MAX_SHARDS, MAX_SHARDS]]}]));
}

fn watch(source: &mut KernelSource, server: &Server, shard: u32) {
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    source.watch(&[(address.into(), Listener::anywhere(shard))].into()).unwrap();
}

/// Sends reads on a connection, and waits until the kernel has decided them and counted its end.
fn reads(source: &mut KernelSource, server: &Server, shard: u32, count: u64) -> u64 {
    let mut client = Client::connect("127.0.0.1", server.port);
    let before = source.read(shard).unwrap().requests.get;
    (0..count).for_each(|_| client.exchange(READ));
    until(|| source.read(shard).unwrap().requests.undecided() == 0);
    drop(client);
    until(|| source.connections(shard).unwrap().unwrap().open() == 0);
    source.read(shard).unwrap().requests.get - before
}

#[test]
fn a_slot_that_is_used_again_begins_at_zero() {
    if !privileges("a_slot_that_is_used_again_begins_at_zero") {
        return;
    }
    let server = Server::start("127.0.0.1");
    let mut source = attached_with(Switches { shards: SHARDS, rtt: true, ..Switches::default() });
    watch(&mut source, &server, 150);
    assert_eq!(reads(&mut source, &server, 150, 6), 6);
    let full = source.keys(150).unwrap();
    assert_eq!((full.keys.len(), source.latency(150).unwrap().count()), (1, 6));
    // As many other shards as there are slots, so that each slot gets a new owner.
    let others: BTreeMap<Endpoint, Listener> = (0..MAX_SHARDS)
        .map(|n| {
            let address = SocketAddr::from(([127, 0, 0, 65], 9_000 + u16::try_from(n).unwrap()));
            (address.into(), Listener::anywhere(70 + n))
        })
        .collect();
    source.watch(&others).unwrap();
    for shard in [150, 70, 133] {
        let counters = source.read(shard).unwrap();
        assert_eq!(counters, probe::source::Counters::default(), "shard {shard}");
        assert_eq!(source.keys(shard).unwrap().keys.len(), 0, "shard {shard}");
        assert_eq!((source.latency(shard).unwrap().count(), source.packets(shard).unwrap()), (0, 0));
        assert_eq!(source.connections(shard).unwrap(), Some(Default::default()));
        assert_eq!(source.round_trips(shard).unwrap().count(), 0);
    }
    // One more is refused, and nothing changes.
    let mut more = others.clone();
    more.insert(SocketAddr::from(([127, 0, 0, 65], 8_999)).into(), Listener::anywhere(150));
    let error = source.watch(&more).unwrap_err().to_string();
    assert!(error.ends_with("shard 150 is not watched: a probe has room for 64 shards"), "{error}");
    assert_eq!(source.fills().unwrap()[0].entries, u64::from(MAX_SHARDS));

    watch(&mut source, &server, 150);
    assert_eq!(source.read(150).unwrap(), probe::source::Counters::default());
    assert_eq!(reads(&mut source, &server, 150, 4), 4);
    assert_eq!(source.keys(150).unwrap().keys.values().map(|reads| reads.requests).sum::<u64>(), 4);
}
