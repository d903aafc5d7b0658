//! Tests `probe watch` on a real server: latency, discarded and aborted commands, which only replies tell.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{TIMEOUT, privileges};
use crate::process::Running;
use crate::redis::Server;
use crate::store_counts::{array, watch, watched};

/// A client that writes what it is told.
struct Client(TcpStream);

impl Client {
    fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self(stream)
    }

    /// Sends commands of words in one segment.
    fn send(&mut self, commands: &[&str]) {
        let words = |line: &&str| array(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        self.0.write_all(&commands.iter().flat_map(words).collect::<Vec<u8>>()).unwrap();
    }

    /// Reads until the text of all that came ends like this.
    fn reads(&mut self, end: &str) {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let mut buffer = [0; 65_536];
            let length = self.0.read(&mut buffer).unwrap();
            assert!(length > 0, "the server closed the connection behind {}", text.escape_ascii());
            text.extend_from_slice(&buffer[..length]);
        }
    }

    fn exchange(&mut self, commands: &[&str], end: &str) {
        self.send(commands);
        self.reads(end);
    }
}

/// The only node once its counts have settled and so many commands of a name have reached the store.
fn node(probe: &Running, name: &str, count: u64) -> Value {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let node = probe.json("/api/store")["nodes"][0].clone();
        let found = &node["reconciliation"];
        let commands = found["commands"].as_array().unwrap();
        let is_there = commands.iter().any(|one| one["command"] == name && one["store"] == count);
        if found["total"]["bound"] == 0 && found["total"]["agrees"] == true && is_there {
            return node;
        }
        assert!(Instant::now() < deadline, "{node}");
    }
}

/// Asserts equal counts by name, and nothing aborted. Returns the timed commands, and the untimed ones by reason.
fn equal(node: &Value) -> (u64, Value) {
    let found = &node["reconciliation"];
    assert_eq!(found["total"]["difference"], 0, "{node}");
    assert!(found["commands"].as_array().unwrap().iter().all(|one| one["difference"] == 0), "{node}");
    for exception in ["aborted", "behind_close", "unknown"] {
        assert_eq!(found["exceptions"][exception], 0, "{exception}: {node}");
    }
    (node["latency_ms"]["count"].as_u64().unwrap(), node["untimed"].clone())
}

fn none() -> Value {
    Value::Object(serde_json::Map::new())
}

#[test]
fn every_command_of_a_pipeline_is_timed_and_none_is_aborted() {
    let Some((probe, server)) = watched("every_command_of_a_pipeline_is_timed_and_none_is_aborted") else {
        return;
    };
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut client = Client::connect(&server);
        client.send(&[hello, "PING"]);
        client.reads("+PONG\r\n");
        for _ in 0..10 {
            let commands = ["SET k v", "GET k", "GET absent", "PING"].repeat(16);
            client.exchange(&commands, "+PONG\r\n");
        }
        // The client's side ends before the replies come.
        client.send(&["SET k v"; 64]);
        client.0.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        client.0.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"+OK\r\n".repeat(64));
    }
    let node = node(&probe, "set", 2 * (160 + 64));
    assert_eq!(equal(&node), (2 * (480 + 64), none()), "{node}");
}

#[test]
fn a_deep_pipeline_is_timed_at_its_end_and_the_rest_is_counted() {
    let Some((probe, server)) = watched("a_deep_pipeline_is_timed_at_its_end_and_the_rest_is_counted") else {
        return;
    };
    let mut client = Client::connect(&server);
    client.exchange(&[&["GET absent"; 1_000][..], &["PING"]].concat(), "+PONG\r\n");
    let node = node(&probe, "get", 1_000);
    let (timed, untimed) = equal(&node);
    assert!(timed >= 63 && timed + untimed["depth"].as_u64().unwrap() >= 1_000, "{node}");
}

#[test]
fn commands_of_aborted_transactions_are_discarded_by_name() {
    let Some((probe, server)) = watched("commands_of_aborted_transactions_are_discarded_by_name") else {
        return;
    };
    let mut other = Client::connect(&server);
    for (hello, null) in [("HELLO 2", "*-1\r\n"), ("HELLO 3", "_\r\n")] {
        let mut client = Client::connect(&server);
        client.send(&[hello, "PING"]);
        client.reads("+PONG\r\n");
        // The refused command is counted by the store.
        client.exchange(&["MULTI", "SET a 1", "GET", "GET a", "EXEC"], "errors.\r\n");
        client.exchange(&["MULTI"], "+OK\r\n");
        client.exchange(&["INCR a"], "+QUEUED\r\n");
        client.exchange(&["DISCARD"], "+OK\r\n");
        client.exchange(&["WATCH w"], "+OK\r\n");
        other.exchange(&["SET w 2"], "+OK\r\n");
        client.exchange(&["MULTI", "SET w 1", "LPUSH l 1", "EXEC"], null);
        client.exchange(&["MULTI", "SET w 1", "EXEC"], "+OK\r\n");
        let mut subscriber = Client::connect(&server);
        subscriber.exchange(&["MULTI", "SET s 1", "SUBSCRIBE news", "EXEC"], ":1\r\n");
        // The connection ends inside a transaction.
        client.exchange(&["MULTI", "HSET h f v"], "+QUEUED\r\n");
    }
    other.exchange(&["GET w"], "$1\r\n1\r\n");
    let node = node(&probe, "get", 2 + 1);
    let (timed, untimed) = equal(&node);
    assert_eq!(node["reconciliation"]["exceptions"]["discarded"], 2 * (2 + 1 + 2 + 1), "{node}");
    // Queued commands have no latency of their own; WATCH has a key, and so counts as data.
    assert_eq!((timed, &untimed["transaction"]), (2 + 2 + 1, &(2 * 9).into()), "{node}");
}

#[test]
fn subscriptions_have_no_latency_and_pushes_are_no_replies() {
    let Some((probe, server)) = watched("subscriptions_have_no_latency_and_pushes_are_no_replies") else {
        return;
    };
    let mut other = Client::connect(&server);
    for hello in ["HELLO 2", "HELLO 3"] {
        let mut subscriber = Client::connect(&server);
        subscriber.exchange(&[hello, "GET absent", "PING"], "+PONG\r\n");
        subscriber.exchange(&["SUBSCRIBE news"], ":1\r\n");
        for _ in 0..10 {
            other.exchange(&["PUBLISH news now"], ":1\r\n");
            subscriber.reads("now\r\n");
        }
        if hello == "HELLO 3" {
            subscriber.exchange(&["GET absent", "GET absent"], "_\r\n_\r\n");
        }
    }
    let mut monitor = Client::connect(&server);
    monitor.exchange(&["MONITOR"], "+OK\r\n");
    other.exchange(&["GET absent"], "$-1\r\n");
    monitor.reads("\"absent\"\r\n");
    drop(monitor);
    let node = node(&probe, "get", 2 + 2 + 1);
    assert_eq!(equal(&node), (2 + 1, serde_json::json!({ "streaming": 2 })), "{node}");
}

#[test]
fn commands_without_a_reply_are_neither_timed_nor_aborted() {
    let Some((probe, server)) = watched("commands_without_a_reply_are_neither_timed_nor_aborted") else {
        return;
    };
    let mut client = Client::connect(&server);
    client.exchange(&["GET absent"], "$-1\r\n");
    client.send(&["client reply OFF"]);
    for _ in 0..100 {
        client.send(&["SET k v"]);
    }
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.0.read(&mut [0; 10]).unwrap(), 0);
    let mut client = Client::connect(&server);
    client.exchange(&["GET absent", "CLIENT REPLY SKIP", "SET k v", "GET k"], "$1\r\nv\r\n");
    drop(client);
    let node = node(&probe, "set", 101);
    assert_eq!(equal(&node), (2, serde_json::json!({ "reply_off": 102 })), "{node}");
}

#[test]
fn a_client_side_cache_is_timed_as_without_one() {
    let Some((probe, server)) = watched("a_client_side_cache_is_timed_as_without_one") else { return };
    let (mut client, mut other) = (Client::connect(&server), Client::connect(&server));
    client.exchange(&["HELLO 3", "CLIENT TRACKING ON", "PING"], "+PONG\r\n");
    for _ in 0..20 {
        client.exchange(&["GET k", "GET k", "PING"], "+PONG\r\n");
        other.exchange(&["SET k v"], "+OK\r\n");
        client.reads(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
    }
    drop(client);
    let node = node(&probe, "get", 40);
    assert_eq!(equal(&node), (60, none()), "{node}");
}

#[test]
fn a_blocked_command_is_not_timed_and_what_waits_behind_it_is() {
    let Some((probe, server)) = watched("a_blocked_command_is_not_timed_and_what_waits_behind_it_is") else {
        return;
    };
    let (mut client, mut other) = (Client::connect(&server), Client::connect(&server));
    client.send(&["BLPOP q 0", "GET absent", "GET absent"]);
    let deadline = Instant::now() + TIMEOUT;
    while !server.cli(&["info", "clients"]).contains("blocked_clients:1") {
        assert!(Instant::now() < deadline);
    }
    other.exchange(&["LPUSH q 1"], ":1\r\n");
    client.reads("$-1\r\n$-1\r\n");
    drop(client);
    let node = node(&probe, "get", 2);
    assert_eq!(equal(&node), (3, serde_json::json!({ "blocking": 1 })), "{node}");
}

#[test]
fn every_timed_command_is_in_its_family_and_a_slow_family_shows() {
    let Some((probe, server)) = watched("every_timed_command_is_in_its_family_and_a_slow_family_shows")
    else {
        return;
    };
    let mut client = Client::connect(&server);
    let list = format!("RPUSH list{}", " value".repeat(5_000));
    client.exchange(&[&list], ":5000\r\n");
    for _ in 0..50 {
        client.exchange(&["GET absent"], "$-1\r\n");
        // Families alternate in a segment.
        client.exchange(
            &["HSET h f v", "ZADD z 1 m", "SET k v", "HGET h f", "SETBIT b 1 1", "PING"],
            "+PONG\r\n",
        );
    }
    client.exchange(
        &["SORT list ALPHA LIMIT 0 0", "GEOADD g 1 1 a", "PFADD p a", "XADD x * f v", "DEL k", "PING"],
        "+PONG\r\n",
    );
    let script = "local sum = 0; for i = 1, 3e6 do sum = sum + i end; return 1";
    for _ in 0..5 {
        client.0.write_all(&array(&[b"EVAL", script.as_bytes(), b"1", b"k"])).unwrap();
        client.reads(":1\r\n");
    }
    // Scripts leave the comparison without a verdict.
    let deadline = Instant::now() + TIMEOUT;
    let node = loop {
        let node = probe.json("/api/store")["nodes"][0].clone();
        if node["latency_ms"]["count"] == 311 && node["reconciliation"]["total"]["bound"] == 0 {
            break node;
        }
        assert!(Instant::now() < deadline, "{node}");
    };
    let (timed, untimed) = equal(&node);
    let families = node["family_latency_ms"].as_object().unwrap();
    let count = |family: &str| families[family]["count"].as_u64().unwrap();
    let found: Vec<(&str, u64)> = families.keys().map(|family| (family.as_str(), count(family))).collect();
    let expected = [
        ("bitmap", 50),
        ("geo", 1),
        ("hash", 100),
        ("hyperloglog", 1),
        ("keyspace", 1),
        ("list", 1),
        ("other", 1),
        ("scripting", 5),
        ("sortedset", 50),
        ("stream", 1),
        ("string", 100),
    ];
    assert_eq!((found, untimed), (expected.to_vec(), none()), "{node}");
    assert_eq!(timed, expected.iter().map(|(_, count)| count).sum::<u64>(), "{node}");
    let p50 = |family: &str| families[family]["p50"].as_f64().unwrap();
    assert!(p50("scripting") > 5.0 && p50("scripting") > 10.0 * p50("string"), "{node}");
    let metrics = probe.text("/metrics");
    let counted: u64 = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("kernel_store_command_duration_seconds_count{"))
        .map(|rest| rest.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(counted, timed, "{metrics}");
}

#[test]
fn a_connection_older_than_the_probe_is_timed_once_it_is_in_step() {
    let test = "a_connection_older_than_the_probe_is_timed_once_it_is_in_step";
    if !privileges(test) {
        return;
    }
    let Some(server) = Server::start(test, &[]) else { return };
    let mut client = Client::connect(&server);
    client.exchange(&["PING"], "+PONG\r\n");
    let probe = watch(server.address);
    for sent in 1..=30 {
        client.exchange(&["GET absent"], "$-1\r\n");
        // Without a rest, the replies could be those to earlier commands.
        let rested = Instant::now() + Duration::from_millis(20);
        while sent == 5 && Instant::now() < rested {
            thread::yield_now();
        }
    }
    let node = node(&probe, "get", 30);
    let (timed, untimed) = equal(&node);
    let joined = untimed["joined"].as_u64().unwrap();
    assert_eq!((timed + joined, untimed.as_object().unwrap().len()), (30, 1), "{node}");
    assert!((8..12).contains(&joined), "{node}");
}

#[test]
fn long_names_and_many_arguments_begin_an_older_connection() {
    let test = "long_names_and_many_arguments_begin_an_older_connection";
    if !privileges(test) {
        return;
    }
    let Some(server) = Server::start(test, &[]) else { return };
    let mset = |pairs: usize| format!("MSET{}", " key value".repeat(pairs));
    // Each connection has one kind of command, so none is followed from another one's.
    let mut commands = [
        ("ZRANGEBYSCORE absent -inf +inf".to_owned(), "*0\r\n"),
        ("GEORADIUSBYMEMBER_RO absent member 1 km".to_owned(), "*0\r\n"),
        (mset(6), "+OK\r\n"),
        (mset(70), "+OK\r\n"),
        (mset(2_000), "+OK\r\n"),
    ]
    .map(|(command, reply)| (Client::connect(&server), command, reply));
    for (client, ..) in &mut commands {
        client.exchange(&["PING"], "+PONG\r\n");
    }
    let probe = watch(server.address);
    const ROUNDS: u64 = 10;
    for _ in 0..ROUNDS {
        for (client, command, reply) in &mut commands {
            client.exchange(&[&**command], reply);
        }
    }
    let node = node(&probe, "mset", 3 * ROUNDS);
    let counted = |name: &str| {
        let all = node["reconciliation"]["commands"].as_array().unwrap();
        all.iter().find(|one| one["command"] == name).map(|one| one["kernel"].as_u64().unwrap())
    };
    let found = ["zrangebyscore", "georadiusbymember_ro", "mset"].map(counted);
    assert_eq!(found, [Some(ROUNDS), Some(ROUNDS), Some(3 * ROUNDS)], "{node}");
    let unparsed = &probe.json("/api/shards")["shards"][0]["unparsed"];
    assert!(unparsed.as_object().unwrap().values().all(|number| number == 0), "{unparsed}");
}
