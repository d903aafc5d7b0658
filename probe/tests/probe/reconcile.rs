//! Tests the output and the exit code of `probe reconcile`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{Client, TIMEOUT, get, privileges};
use crate::http::{Served, counters, serve};
use crate::process::{Running, command, error_line, exchange, run};
use crate::shard::{Shard, stats};

fn printed(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn once(served: &Served, more: &[&str]) -> Output {
    run(&[&["reconcile", "--once", "--url", &served.base], more].concat())
}

/// The cells of a shard's row in the table.
fn row(table: &str, shard: usize) -> Vec<&str> {
    table.lines().nth(shard + 1).unwrap().split_whitespace().collect()
}

#[test]
fn the_exit_code_says_whether_all_agree() {
    let shards = [Shard::start(0), Shard::start(70)];
    let served = serve(&shards.each_ref().map(Shard::url), vec![vec![counters(7, 2)]; 2]);
    let output = once(&served, &[]);
    let table = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert_eq!(row(&table, 1), ["1", "0", "0", "0", "0", "-", "agrees"], "{table}");
    assert!(table.ends_with("all 2 shards agree\n"), "{table}");

    // The shard counts three requests that the kernel does not see.
    shards[1].received.fetch_add(3, Ordering::SeqCst);
    let output = once(&served, &[]);
    let table = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert_eq!(row(&table, 0)[6], "agrees", "{table}");
    assert_eq!(row(&table, 1)[..7], ["1", "0", "3", "-3", "0", "-", "differs"], "{table}");
    assert!(table.ends_with("shard 1 differs\n"), "{table}");

    let output = once(&served, &["--json"]);
    let body: Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!((output.status.code(), &body["result"]), (Some(1), &"differs".into()));
    assert_eq!(body["shards"][1]["cause_kind"], "unseen", "{body}");
    assert_eq!(body["shards"][0]["cause_kind"], Value::Null, "{body}");
}

#[test]
fn no_verdict_is_no_agreement() {
    let (shard, gone) = (Shard::start(0), Shard::start(0).url());
    let served = serve(&[shard.url(), gone], vec![vec![counters(7, 2)]; 2]);
    let output = once(&served, &["--wait", "1"]);
    let table = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(row(&table, 1)[..8] == ["1", "-", "-", "-", "-", "-", "no", "verdict"], "{table}");
    assert!(
        table.contains("the shard cannot be read") && table.ends_with("shard 1 has no verdict\n"),
        "{table}"
    );
}

#[test]
fn without_a_probe_there_is_one_line_and_exit_code_1() {
    let output = run(&["reconcile", "--once", "--wait", "0", "--url", "http://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error_line(&output).contains("no answer from the probe at http://127.0.0.1:9: no connection"));
    for (arguments, expected) in [
        (&["--url", "127.0.0.1:9010"][..], "--url=\"127.0.0.1:9010\" cannot be used"),
        (&["--shard-urls", "ftp://a"], "SHARD_URLS=\"ftp://a\" cannot be used"),
        (&["--interval", "0"], "INTERVAL (--interval)=\"0\" cannot be used"),
    ] {
        let output = run(&[&["reconcile", "--once"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(error_line(&output).contains(expected), "{}", error_line(&output));
    }
}

#[test]
fn a_probe_that_answers_late_is_waited_for() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![counters(7, 2)]]);
    let probe = served.base.strip_prefix("http://").unwrap().to_owned();
    // The first connection is closed without an answer. Later ones are forwarded to the probe.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        drop(listener.accept().unwrap());
        for mut client in listener.incoming().flatten() {
            let mut server = TcpStream::connect(&probe).unwrap();
            let (mut there, mut back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut there, &mut back));
            std::thread::spawn(move || std::io::copy(&mut server, &mut client));
        }
    });
    let impatient = run(&["reconcile", "--once", "--wait", "0", "--url", "http://127.0.0.1:9"]);
    assert_eq!(impatient.status.code(), Some(1));
    let output = run(&["reconcile", "--once", "--wait", "20", "--url", &url]);
    assert!(printed(&output).ends_with("the shard agrees\n"));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_running_probe_and_one_of_its_own_give_the_same_table() {
    if !privileges("a_running_probe_and_one_of_its_own_give_the_same_table") {
        return;
    }
    let shard = Shard::start(500);
    let probe = Running::start(&shard);
    exchange(&shard, 50);
    let output = run(&["reconcile", "--once", "--url", &probe.base]);
    let table = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert_eq!(row(&table, 0), ["0", "55", "55", "0", "0", "-", "agrees"], "{table}");
    assert!(table.ends_with("the shard agrees\n"), "{table}");

    let url = shard.url();
    let own = std::thread::spawn(move || run(&["reconcile", "--once", "--json", "--shard-urls", &url]));
    // Send requests continuously, so that the baseline is taken under load.
    while !own.is_finished() {
        exchange(&shard, 10);
    }
    let output = own.join().unwrap();
    let body: Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!((output.status.code(), &body["result"]), (Some(0), &"agrees".into()), "{body}");
    assert!(body["shards"][0]["kernel"].as_u64().unwrap() > 0, "{body}");
}

/// Waits for a disagreement and returns the comparison.
fn disagreement(probe: &Running) -> Value {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let one = probe.json("/api/compare")["shards"][0].clone();
        if one["agrees"] == false {
            return one;
        }
        assert!(Instant::now() < deadline, "{one}");
    }
}

#[test]
fn requests_that_are_answered_and_not_counted_were_shed() {
    if !privileges("requests_that_are_answered_and_not_counted_were_shed") {
        return;
    }
    let shard = Shard::start(500);
    let probe = Running::start(&shard);
    exchange(&shard, 20);
    assert_eq!(probe.json("/api/compare")["shards"][0]["agrees"], true);
    exchange(&shard, 10);
    shard.received.fetch_sub(4, Ordering::SeqCst);
    let one = disagreement(&probe);
    assert_eq!((&one["difference"], &one["cause_kind"]), (&4.into(), &"shed".into()), "{one}");
}

/// A server that reports no received requests and leaves data requests unanswered.
fn deaf() -> String {
    fn serve(mut stream: TcpStream) {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while stream.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
            if head.ends_with(b"\r\n\r\n") {
                if head.starts_with(b"GET /stats ") {
                    let body = stats(0, 5.5).to_string();
                    let length = body.len();
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                    stream.write_all(answer.as_bytes()).unwrap();
                }
                head.clear();
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    url
}

#[test]
fn requests_that_nobody_reads_are_unanswered() {
    if !privileges("requests_that_nobody_reads_are_unanswered") {
        return;
    }
    let url = deaf();
    let probe = Running::follow(&mut command(&["run", "--port", "0", "--shard-urls", &url]));
    let deadline = Instant::now() + TIMEOUT;
    while probe.json("/api/compare")["shards"][0]["bound"] != 0 {
        assert!(Instant::now() < deadline);
    }
    let port = url.rsplit(':').next().unwrap().parse().unwrap();
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect("127.0.0.1", port)).collect();
    clients.iter_mut().for_each(|client| client.send(&get("user-1")));
    let one = disagreement(&probe);
    assert_eq!((&one["difference"], &one["cause_kind"]), (&3.into(), &"unanswered".into()), "{one}");
    // Clients that close abort their requests.
    clients.into_iter().for_each(Client::reset);
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let one = probe.json("/api/compare")["shards"][0].clone();
        if one["agrees"] == true {
            assert_eq!((&one["bound"], &one["cause_kind"]), (&3.into(), &"aborted".into()), "{one}");
            break;
        }
        assert!(Instant::now() < deadline, "{one}");
    }
}

#[test]
fn without_once_there_is_a_table_an_interval() {
    let shard = Shard::start(0);
    let served = serve(&[shard.url()], vec![vec![counters(7, 2)]]);
    let arguments = ["reconcile", "--interval", "0.1", "--url", &served.base];
    let mut child = command(&arguments).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let tables = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(tables.filter(|line| line == "the shard agrees").take(3).count(), 3);
    child.kill().unwrap();
    child.wait().unwrap();
}
