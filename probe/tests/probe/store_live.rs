//! Tests `probe watch` on a real cluster, with the real kernel: counts, verdict and exit code of one answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use store::slot::slot;

use crate::harness::{TIMEOUT, privileges};
use crate::process::command;
use crate::redis::{Server, cluster};

/// Connections to the owners of the slots.
struct Clients(Vec<(u16, u16, TcpStream)>);

impl Clients {
    fn connect(nodes: &[Server]) -> Self {
        let slots = nodes[0].cli(&["--json", "cluster", "slots"]);
        let slots: Value = serde_json::from_str(&slots).unwrap();
        let number = |value: &Value| u16::try_from(value.as_u64().unwrap()).unwrap();
        let ranges = slots.as_array().unwrap().iter().map(|range| {
            let stream = TcpStream::connect(("127.0.0.1", number(&range[2][1]))).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            (number(&range[0]), number(&range[1]), stream)
        });
        Self(ranges.collect())
    }

    /// Reads a key and waits for its answer, a null.
    fn get(&mut self, key: &str) {
        let slot = slot(key.as_bytes());
        let (_, _, stream) =
            self.0.iter_mut().find(|(first, last, _)| (*first..=*last).contains(&slot)).unwrap();
        stream.write_all(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).as_bytes()).unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"$-1\r\n");
    }
}

/// `probe watch --once --json` for some seconds.
fn once(nodes: &[Server], seconds: &str) -> Child {
    let url = format!("redis://{}", nodes[0].address);
    let mut probe = command(&["watch", "--once", "--json", "--seconds", seconds, &url]);
    probe.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(probe: Child) -> (Option<i32>, Value) {
    let output = probe.wait_with_output().unwrap();
    let body = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| unreachable!("{output:?}"));
    (output.status.code(), body)
}

/// Sends reads until the probe ends. `key` returns the key of the nth. Returns how many were sent.
fn load(clients: &mut Clients, probe: &mut Child, key: impl Fn(u64) -> String) -> u64 {
    let mut sent = 0;
    while probe.try_wait().unwrap().is_none() {
        clients.get(&key(sent));
        sent += 1;
    }
    sent
}

#[test]
fn a_celebrity_among_100_000_keys_is_named_and_a_uniform_load_is_balanced() {
    let test = "a_celebrity_among_100_000_keys_is_named";
    if !privileges(test) {
        return;
    }
    let Some(nodes) = cluster(test, 3) else { return };
    let mut clients = Clients::connect(&nodes);
    // 77 of 100 reads are of one key, spread evenly. The other multiplier visits all other keys.
    let celebrity = |n: u64| {
        if n * 37 % 100 < 77 { "celebrity".to_owned() } else { format!("user-{}", n * 7_919 % 100_000) }
    };
    let mut probe = once(&nodes, "10");
    load(&mut clients, &mut probe, celebrity);
    let (code, found) = ended(probe);
    assert_eq!((code, &found["result"]), (Some(1), &"hot".into()), "{found}");
    let top = &found["keys"][0];
    assert_eq!(
        (&top["key"], &top["error"], &top["slot"]),
        (&"celebrity".into(), &0.into(), &slot(b"celebrity").into())
    );
    assert!((0.75..0.79).contains(&top["share"].as_f64().unwrap()), "{top}");
    assert!(found["mitigations"].as_array().unwrap().len() >= 5, "{found}");

    let mut probe = once(&nodes, "10");
    load(&mut clients, &mut probe, |n| format!("user-{}", n * 7_919 % 100_000));
    let (code, found) = ended(probe);
    assert_eq!((code, &found["result"]), (Some(0), &"balanced".into()), "{found}");

    let (code, found) = ended(once(&nodes, "3"));
    assert_eq!((code, &found["result"]), (Some(3), &"cannot_say".into()), "{found}");
}

#[test]
fn counts_are_exact_by_name_key_and_byte() {
    let test = "counts_are_exact_by_name_key_and_byte";
    if !privileges(test) {
        return;
    }
    let Some(nodes) = cluster(test, 3) else { return };
    let mut clients = Clients::connect(&nodes);
    let probe = once(&nodes, "8");
    // Counts begin with the probe, so the reads must not begin before it has asked the node.
    let asked = |node: &Server| node.cli(&["info", "commandstats"]).contains("cmdstat_command:");
    let deadline = Instant::now() + TIMEOUT;
    while !asked(&nodes[0]) {
        assert!(Instant::now() < deadline);
    }
    // The baselines are taken within two seconds of attaching.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        std::thread::yield_now();
    }
    for n in 0..3_000 {
        clients.get(&format!("key-{}", n % 100));
    }
    let (_, found) = ended(probe);
    let mut reads = 0;
    for node in found["nodes"].as_array().unwrap().iter().filter(|node| node["role"] == "primary") {
        let of = &node["reconciliation"];
        assert_eq!((&of["total"]["agrees"], &of["total"]["difference"]), (&true.into(), &0.into()), "{node}");
        assert_eq!((&of["bytes"]["agrees"], &of["bytes"]["difference"]), (&true.into(), &0.into()), "{node}");
        let get = of["commands"].as_array().unwrap().iter().find(|command| command["command"] == "get");
        reads += get.map_or(0, |get| get["kernel"].as_u64().unwrap());
    }
    assert_eq!(reads, 3_000, "{found}");
    assert!(
        found["keys"].as_array().unwrap().iter().all(|key| key["count"] == 30 && key["error"] == 0),
        "{found}"
    );
}
