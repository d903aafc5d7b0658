//! Tests reads that are served without the general HTTP server, and when they are not.

use std::sync::Arc;
use std::time::Duration;

use crate::client::{Slow, answer, connect};

const END: &str = "GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Sends bytes in pieces of `step` to a server, and reads all answers.
fn answers(sent: &str, step: usize) -> String {
    let [_, slow] = Slow::both();
    let started = slow.start(&Arc::default());
    let mut pieces = sent.as_bytes().chunks(step);
    let mut stream = connect(started.local_addr(), pieces.next().unwrap());
    for piece in pieces {
        std::thread::park_timeout(Duration::from_millis(2));
        std::io::Write::write_all(&mut stream, piece).unwrap();
    }
    let answers = answer(stream);
    assert!(started.stop(Duration::from_secs(10)).is_empty());
    answers
}

/// The status and the body of each answer.
fn parts(answers: &str) -> Vec<(&str, &str)> {
    let answers = answers.split("HTTP/1.1 ").skip(1);
    answers.map(|text| (&text[..3], text.split_once("\r\n\r\n").unwrap().1)).collect()
}

#[test]
fn requests_of_all_kinds_on_one_connection_are_answered_in_order() {
    let plain = |segment: &str| format!("GET /{segment} HTTP/1.1\r\nHost: x\r\n\r\n");
    let post = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
    let sent = [&plain("ok"), &plain("slow"), &plain("none"), &plain("ok"), post, &plain("ok"), END].concat();
    let expected = [
        ("200", "ok"),
        ("200", "slow"),
        ("404", "none"),
        ("200", "ok"),
        ("200", "body"),
        ("200", "ok"),
        ("200", "ok"),
    ];
    for step in [sent.len(), 40, 7] {
        assert_eq!(parts(&answers(&sent, step)), expected, "in pieces of {step} bytes");
    }
}

#[test]
fn answers_are_complete_and_have_the_usual_headers() {
    let sent = format!(
        "GET /large HTTP/1.1\r\nHOST: x\r\n\r\nGET /headers HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n{END}"
    );
    let answers = answers(&sent, sent.len());
    let (first, _) = answers.split_once("\r\n\r\n").unwrap();
    let expected = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1048576\r\ndate: ";
    assert!(first.starts_with(expected) && first.ends_with(" GMT"), "{first}");
    let parts = parts(&answers);
    assert_eq!((parts.len(), parts[0].1.len()), (3, 1 << 20));
    assert_eq!(parts[1].1, r#"/headers {"host": "x", "a": "b"}"#);
}

#[test]
fn what_is_unusual_is_left_to_the_router() {
    // The router has no route for these, or it refuses them. The lean way would answer with a body of its own.
    for (target, headers, status) in [
        ("/none", "Host: x\r\nContent-Length: 0\r\n", "404"),
        ("/none?q", "Host: x\r\n", "404"),
        ("/a/b", "Host: x\r\n", "404"),
        ("/", "Host: x\r\n", "404"),
        ("/none", "", "400"),
        ("/none", "Host: x\r\nHost: x\r\n", "400"),
        ("/none", "Host: a b\r\n", "400"),
        ("/\u{e4}", "Host: x\r\n", "404"),
        ("/none", "Host: x\r\nbad header\r\n", "400"),
    ] {
        let sent = format!("GET {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let answers = answers(&sent, sent.len());
        let is_status = answers.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(is_status && !answers.ends_with("\r\n\r\nnone"), "{target} {headers}: {answers}");
    }
}

#[test]
fn a_panic_is_a_500_without_its_text_and_the_next_request_is_served() {
    let answers = answers(&format!("GET /panic HTTP/1.1\r\nHost: x\r\n\r\n{END}"), 1_000);
    let parts = parts(&answers);
    assert_eq!((parts[0].0, parts[1]), ("500", ("200", "ok")));
    assert!(parts[0].1.contains("internal server error") && !parts[0].1.contains("a test"));
}
