//! The binary: settings, drain, memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::lab::{answer, connect, exchange, head, until};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shard"));
    command.env_clear().args(args).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// A command's standard error and exit code.
fn ends_with(mut command: Command) -> (String, Option<i32>) {
    let output = command.output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

struct Running {
    child: Child,
    addr: SocketAddr,
    log: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let fixed = ["--shard-id=1", "--port=0", "--load-latency-factor-ms=0"];
        let mut child = command(&[&fixed, args].concat()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let addr = line.rsplit("addr=").next().and_then(|text| text.trim().parse().ok());
        Self { addr: addr.unwrap_or_else(|| panic!("no address in {line:?}")), child, log }
    }

    /// Resident memory in MiB.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }

    fn signal(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only needed after a failed test. After `wait` the process has ended.
        let _ = self.child.kill();
    }
}

#[test]
fn a_bad_setting_is_one_line_and_exit_code_2() {
    let mut by_variable = command(&["--shard-id=0"]);
    by_variable.env("SHARD_CONCURRENCY", "many");
    let cases = [
        (command(&[]), "SHARD_ID (--shard-id) is required"),
        (command(&["--shard-id=x"]), "SHARD_ID (--shard-id)=\"x\" cannot be used: allowed: a whole number"),
        (by_variable, "SHARD_CONCURRENCY (--shard-concurrency)=\"many\" cannot be used"),
        (command(&["--shard-id=0", "--base-latency-ms=-1"]), "allowed: 0 to 60000 milliseconds"),
        (command(&["--shard-id=0", "--log-level=shard=loud"]), "LOG_LEVEL=\"shard=loud\""),
    ];
    for (command, says) in cases {
        let (line, code) = ends_with(command);
        assert_eq!((code, line.lines().count()), (Some(2), 1), "{line}");
        assert!(line.starts_with("shard: ") && line.contains(says), "{line}");
    }
}

#[test]
fn a_port_in_use_is_one_line_and_exit_code_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = format!("--port={}", taken.local_addr().unwrap().port());
    let (line, code) = ends_with(command(&["--shard-id=0", &port]));
    assert_eq!((code, line.lines().count()), (Some(1), 1), "{line}");
    assert!(line.contains("set PORT to a free port"), "{line}");
}

#[test]
fn a_stop_signal_lets_requests_in_flight_end() {
    let shard = Running::start(&["--base-latency-ms=500"]);
    let mut stream = connect(shard.addr);
    stream.write_all(&head("GET", "/data/k")).unwrap();
    let stats = || exchange(shard.addr, &head("GET", "/stats")).body;
    until(|| stats().contains("\"active_requests\":1").then_some(()), stats);
    shard.signal();
    assert_eq!(answer(stream).status, 200);
    let (code, log) = shard.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("drained"), "{log}");
}

/// Reads the keys `key-FROM` to `key-TO` over one connection, many at a time. Returns the number of answers.
fn ask_for_keys(addr: SocketAddr, from: usize, to: usize) -> usize {
    let mut stream = connect(addr);
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let (mut sent, mut answered) = (from, 0);
    let mut line = String::new();
    while sent < to {
        let batch = (to - sent).min(64);
        let requests: String =
            (sent..sent + batch).map(|n| format!("GET /data/key-{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
        stream.write_all(requests.as_bytes()).unwrap();
        sent += batch;
        let mut pending = batch;
        let mut body = 0;
        while pending > 0 {
            line.clear();
            assert!(answers.read_line(&mut line).unwrap() > 0, "the shard closed the connection");
            if let Some(len) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                body = len.trim().parse().unwrap();
            }
            if line == "\r\n" {
                answers.read_exact(&mut vec![0; body]).unwrap();
                pending -= 1;
                answered += 1;
            }
        }
    }
    answered
}

/// A million keys if LAB_TEST_FULL=1, otherwise fifty thousand.
fn distinct_keys() -> usize {
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch between the quick and the full test is a variable"
    )]
    let full = std::env::var("LAB_TEST_FULL").is_ok_and(|value| value == "1");
    if full { 1_000_000 } else { 50_000 }
}

#[test]
fn statistics_stay_small_however_many_keys_are_asked_for() {
    // Only one key is stored, so only the statistics grow.
    let shard = Running::start(&["--base-latency-ms=0", "--shard-max-keys=1"]);
    ask_for_keys(shard.addr, 0, 100);
    let before = shard.resident();
    let keys = distinct_keys();
    assert_eq!(ask_for_keys(shard.addr, 0, keys), keys);
    let grown = shard.resident() - before;
    println!("{keys} distinct keys: statistics grew by {grown:.1} MiB");
    assert!(grown <= 24.0, "{grown} MiB");
}

#[test]
fn a_store_of_many_keys_stays_within_its_stated_bytes() {
    let shard = Running::start(&["--base-latency-ms=0"]);
    ask_for_keys(shard.addr, 0, 100);
    let before = shard.resident();
    let keys = distinct_keys();
    assert_eq!(ask_for_keys(shard.addr, 0, keys), keys);
    let grown = shard.resident() - before;
    let text = exchange(shard.addr, &head("GET", "/metrics")).body;
    let counted: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix("shard_stored_bytes{shard_id=\"1\"} "))
        .and_then(|value| value.parse().ok())
        .unwrap();
    let counted = counted / 1024.0 / 1024.0;
    println!("{keys} stored keys: {grown:.1} MiB, counted {counted:.1} MiB");
    assert!(grown <= counted + 24.0, "{grown} MiB resident, {counted} MiB counted");
}
