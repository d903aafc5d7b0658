//! Tests `probe watch` on a server in a container: a network namespace and a cgroup of its own.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use probe::kernel::preflight;
use serde_json::Value;

use crate::harness::{TIMEOUT, privileges};
use crate::process::Running;
use crate::redis::Server;
use crate::store_counts::{array, converse, count, settled, watch};

const PORT: u16 = 6379;

/// Enters a cgroup and a new network namespace, and runs the server there.
const START: &str = "echo $$ > $0/cgroup.procs && exec unshare --net redis-server --bind 0.0.0.0 \
                     --protected-mode no --save '' --port $1 --dir $2";

/// A server in a container. Dropping it removes everything.
struct Container {
    child: Child,
    group: PathBuf,
    /// The host's end of the veth pair.
    pair: Option<String>,
    _folder: tempfile::TempDir,
}

impl Container {
    fn start(name: &str) -> Self {
        let group = format!("hotlab-container-{name}-{}", std::process::id());
        let group = preflight::cgroup(None).unwrap().join(group);
        std::fs::create_dir(&group).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", START]).arg(&group).arg(PORT.to_string()).arg(folder.path());
        let child = shell.stdout(Stdio::null()).spawn().unwrap();
        let container = Self { child, group, pair: None, _folder: folder };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", container.child.id());
        wait("a network namespace", || std::fs::read_link(&theirs).is_ok_and(|theirs| theirs != own));
        container.run(&["ip", "link", "set", "lo", "up"]);
        container
    }

    /// Runs a program in its network namespace.
    fn run(&self, words: &[&str]) -> String {
        run(&[&["nsenter", "--net", "--target", &self.child.id().to_string()], words].concat())
    }

    /// Connects it to the host by a veth pair.
    fn join(&mut self, host: &str, address: SocketAddr) {
        let (name, owner) = (format!("hotc{}", std::process::id()), self.child.id().to_string());
        run(&["ip", "link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &owner]);
        run(&["ip", "address", "add", &format!("{host}/31"), "dev", &name]);
        run(&["ip", "link", "set", &name, "up"]);
        self.pair = Some(name);
        self.run(&["ip", "address", "add", &format!("{}/31", address.ip()), "dev", "eth0"]);
        self.run(&["ip", "link", "set", "eth0", "up"]);
        wait("the server in the container", || TcpStream::connect(address).is_ok());
    }

    /// Sends commands from inside the container to an address.
    fn increment(&self, address: SocketAddr, times: usize) {
        let host = address.ip().to_string();
        let client = ["redis-cli", "-h", &host, "-r", &times.to_string(), "INCR", "inside"];
        wait("the server", || self.run(&["redis-cli", "-h", &host, "PING"]) == "PONG\n");
        assert_eq!(self.run(&client).lines().count(), times);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The kernel removes a namespace, and the pair with it, some time after its last process.
        if let Some(pair) = &self.pair {
            let _ = Command::new("ip").args(["link", "delete", pair]).output();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The kernel removes a process from its cgroup a moment after its end. Names do not repeat, so a rest is harmless.
        let deadline = Instant::now() + TIMEOUT;
        while std::fs::remove_dir(&self.group).is_err() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}

/// Runs a program. Returns its output, also if it fails.
fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || words.contains(&"redis-cli"), "{words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// The namespace that the probe has learned for the server.
fn namespace(probe: &Running) -> Value {
    probe.json("/status")["shards"][0]["namespaces"][0].clone()
}

/// Asserts that kernel and store agree at rest about so many INCR.
fn agree(probe: &Running, increments: u64, retransmitted: u64) -> Value {
    let (answer, found) = settled(probe, |one| count(one, "incr") == increments);
    let (total, bytes) = (&found["total"], &found["bytes"]);
    assert_eq!((&total["difference"], &total["agrees"]), (&0.into(), &true.into()), "{found}");
    assert!(found["commands"].as_array().unwrap().iter().all(|one| one["difference"] == 0), "{found}");
    assert_eq!(bytes["difference"], retransmitted, "{found}");
    answer
}

#[test]
fn a_server_in_a_container_counts_as_on_the_host_and_its_namesake_does_not() {
    let test = "a_server_in_a_container_counts_as_on_the_host_and_its_namesake_does_not";
    // Without `redis-server` the test is skipped.
    if !privileges(test) || Server::start(test, &[]).is_none() {
        return;
    }
    // TEST-NET-3 (RFC 5737).
    let last = std::process::id() % 128 * 2;
    let (host, address) = (format!("203.0.113.{last}"), format!("203.0.113.{}:{PORT}", last + 1));
    let address: SocketAddr = address.parse().unwrap();
    let mut container = Container::start("watched");
    container.join(&host, address);
    // The same address in a third namespace.
    let namesake = Container::start("namesake");
    namesake.run(&["ip", "address", "add", &format!("{}/32", address.ip()), "dev", "lo"]);
    let probe = watch(address);
    let learned = namespace(&probe);
    assert!(learned.is_u64(), "{learned}");

    let round = [array(&[b"INCR", b"hot"]), array(&[b"MGET", b"hot", b"other"])].concat();
    let twice = converse(address, &round, 300, &[1, 7, 4_000, 30]);
    namesake.increment(address, 9);
    container.increment(address, 5);
    let answer = agree(&probe, 305, twice);
    let key = &answer["keys"][0];
    assert_eq!(
        (&key["key"], &key["count"], &key["error"]),
        (&"hot".into(), &600.into(), &0.into()),
        "{answer}"
    );
    assert_eq!(answer["nodes"][0]["reconciliation"]["baselines"], serde_json::json!({}), "{answer}");

    // The container restarts, in a new namespace.
    drop(container);
    let mut container = Container::start("restarted");
    container.join(&host, address);
    wait("the new namespace", || {
        let now = namespace(&probe);
        now.is_u64() && now != learned
    });
    settled(&probe, |one| one["baselines"]["restart"] == 1 || one["baselines"]["watched"] == 1);
    namesake.increment(address, 9);
    let twice = converse(address, &round, 100, &[1_000]);
    agree(&probe, 100, twice);
    drop(container);
}
