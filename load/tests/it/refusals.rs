//! Tests runs without a report: exit code, reason and sentence.

use protocol::body::RefusalReason;
use std::time::Duration;

use crate::stub::{Behaviour, Stub, load, outcome, refusal};

/// An address that refuses connections, and the bound socket that reserves it.
fn no_listener() -> (tokio::net::TcpSocket, std::net::SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

fn refused(behaviour: Behaviour, args: &[&str], reason: RefusalReason, says: &str) {
    let stub = Stub::start(behaviour);
    let output = stub.load(&[args, &["--json", "-"]].concat());
    let (line, code, _) = outcome(&output);
    let refused = refusal(&output).unwrap();
    assert_eq!((code, refused.reason, line.lines().count()), (Some(3), reason, 1), "{line}");
    assert_eq!(line.trim_end(), format!("load: {}", refused.detail));
    assert!(line.contains(says), "{line}");
    let (without_json, code, printed) = outcome(&stub.load(args));
    assert_eq!((code, printed), (Some(3), false), "{without_json}");
}

#[test]
fn a_gateway_too_slow_for_the_rate_gives_no_report() {
    let slow = Behaviour { delay: Duration::from_secs(3), ..Behaviour::default() };
    let args = ["run", "uniform", "--duration", "2"];
    refused(slow, &args, RefusalReason::RequestsDropped, "dropped at the limit of requests in flight");
}

#[test]
fn too_few_answers_give_no_report() {
    refused(
        Behaviour::default(),
        &["run", "uniform", "--duration", "1"],
        RefusalReason::TooFewAnswers,
        "50 answers, at least 100 are needed",
    );
}

#[test]
fn a_gateway_that_refuses_the_cache_is_named() {
    let refusing = Behaviour { no_cache: true, ..Behaviour::default() };
    let stub = Stub::start(refusing);
    let output = stub.load(&["run", "with-caching", "--duration", "1", "--json", "-"]);
    let (line, code, printed) = outcome(&output);
    assert_eq!((code, printed, line.lines().count()), (Some(1), false, 1), "{line}");
    assert!(line.starts_with("load: ") && line.contains("refused to switch its cache on"), "{line}");
}

#[test]
fn a_missing_gateway_is_one_line() {
    let (_held, addr) = no_listener();
    for how in [&["run", "uniform"][..], &["saturate"]] {
        let (line, code, printed) =
            outcome(&load(&[how, &["--gateway", &format!("http://{addr}")]].concat()));
        assert_eq!((code, printed, line.lines().count()), (Some(1), false, 1), "{line}");
        assert!(line.contains("is the lab running?"), "{line}");
    }
}

#[test]
fn too_many_errors_are_reported_and_fail() {
    let wrong = Behaviour { wrong_shard: true, ..Behaviour::default() };
    let failing = Behaviour { fail_every: Some(4), ..Behaviour::default() };
    for (behaviour, kind) in [(wrong, "WrongShard"), (failing, "Status")] {
        let stub = Stub::start(behaviour);
        let output = stub.load(&["saturate", "--requests", "200", "--json", "-"]);
        let (line, code, printed) = outcome(&output);
        assert_eq!((code, printed, line.lines().count()), (Some(1), true, 1), "{line}");
        assert!(line.contains("error_share is") && line.contains(kind), "{line}");
    }
}

#[test]
fn a_gateway_with_bounded_load_may_answer_from_any_shard() {
    let stub = Stub::start(Behaviour { wrong_shard: true, is_bounded: true, ..Behaviour::default() });
    let report = stub.report(&["saturate", "--requests", "200"]);
    assert_eq!((&report["sent"], &report["errors"]), (&200.into(), &0.into()), "{report}");
}

#[test]
fn saturation_gives_up_on_a_shard_that_is_gone() {
    let stub = Stub::start(Behaviour { is_shard: true, ..Behaviour::default() });
    let (_held, gone) = no_listener();
    let urls = format!("http://{},http://{gone}", stub.addr);
    let output = load(&["saturate", "--shard-urls", &urls, "--requests", "1000000", "--json", "-"]);
    let (line, code, printed) = outcome(&output);
    assert_eq!((code, printed, line.lines().count()), (Some(1), false, 1), "{line}");
    assert!(line.contains("stopped after 1") && line.contains("failed requests"), "{line}");
}

#[test]
fn a_bad_option_is_exit_code_2() {
    for args in [&["run", "nonsense"][..], &["saturate", "--requests", "0"], &["run"], &[]] {
        let (line, code, _) = outcome(&load(args));
        assert_eq!(code, Some(2), "{args:?}: {line}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let stub = Stub::start(Behaviour::default());
    let output = stub.load(&["saturate", "--requests", "100", "--json", "/no/such/folder/report.json"]);
    let (line, code, _) = outcome(&output);
    assert_eq!(code, Some(1));
    assert!(line.contains("cannot be written to /no/such/folder/report.json"), "{line}");
}
