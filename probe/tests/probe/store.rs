//! Tests `probe watch`: settings, ports that are no store, refused users. Each is one line with a remedy.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use crate::process::{command, error_line};
use crate::redis::{Server, free_port};

/// `probe watch` for one answer, with environment variables.
fn once(url: &str, variables: &[(&str, &str)]) -> Output {
    let mut command: Command = command(&["watch", "--once", "--seconds", "1", url]);
    command.envs(variables.iter().copied()).output().unwrap()
}

/// The exit code and the only line of the errors.
fn refused(url: &str, variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = once(url, variables);
    assert!(output.stdout.is_empty(), "{output:?}");
    (output.status.code(), error_line(&output))
}

fn has(found: &(Option<i32>, String), code: i32, parts: &[&str]) {
    assert_eq!(found.0, Some(code), "{}", found.1);
    assert!(parts.iter().all(|part| found.1.contains(part)), "{}", found.1);
}

#[test]
fn a_bad_setting_is_exit_code_2_and_shows_no_password() {
    for (url, part) in [
        ("redis://", "is not redis://host:port"),
        ("http://127.0.0.1:6379", "is not redis://host:port"),
        ("rediss://127.0.0.1:6379", "is encrypted"),
        ("redis://a,,redis://b", "an empty entry"),
    ] {
        has(&refused(url, &[]), 2, &["STORE_URLS=", part]);
    }
    let login = refused("redis://ops:hunter2@127.0.0.1", &[]);
    has(&login, 2, &["STORE_PASSWORD_FILE"]);
    assert!(!login.1.contains("hunter2"), "{}", login.1);
    let at = "redis://127.0.0.1:1";
    has(&refused(at, &[("STORE_USER", "ops")]), 2, &["STORE_USER=\"ops\"", "needs a password"]);
    has(
        &refused(at, &[("STORE_PASSWORD_FILE", "/absent")]),
        2,
        &["STORE_PASSWORD_FILE=\"/absent\"", "cannot be read"],
    );
    let json = command(&["watch", "--json", at]).output().unwrap();
    assert_eq!(json.status.code(), Some(2), "{json:?}");
}

/// A server that reads once and sends `answer`.
fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 1 << 10];
            let read = stream.read(&mut buffer).unwrap();
            assert!(
                buffer[..read].starts_with(b"*2\r\n$5\r\nHELLO\r\n"),
                "nothing but RESP is sent to a foreign port"
            );
            stream.write_all(answer).unwrap();
        }
    });
    url
}

#[test]
fn a_port_that_is_no_store_is_named_and_is_no_verdict() {
    let absent = format!("redis://127.0.0.1:{}", free_port());
    has(&refused(&absent, &[]), 3, &["connection refused", "check host and port"]);
    has(&refused(&answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), &[]), 3, &["speaks HTTP", "plain port"]);
    has(&refused(&answering(b"\x15\x03\x03\x00\x02\x02\x28"), &[]), 3, &["speaks TLS", "plain port"]);
    has(&refused(&answering(b""), &[]), 3, &["closed the connection without a reply", "TLS"]);
    has(&refused("redis://no-such-host.invalid", &[]), 3, &["no-such-host.invalid has no address"]);
    // Without --once the same is exit code 1, as for every other process.
    let started = command(&["watch", "--port", "0", &absent]).output().unwrap();
    assert_eq!(started.status.code(), Some(1), "{started:?}");
    assert!(error_line(&started).contains("connection refused"));
}

#[test]
fn users_that_may_not_ask_are_told_what_is_missing() {
    let users = "--requirepass right --user blind on >pass -@all";
    let options: Vec<&str> = users.split(' ').collect();
    let Some(server) = Server::start("users_that_may_not_ask", &options) else { return };
    let url = format!("redis://{}", server.address);
    has(&refused(&url, &[]), 3, &["requires a password", "STORE_PASSWORD"]);
    has(&refused(&url, &[("STORE_PASSWORD", "wrong")]), 3, &["rejected the password of user \"default\""]);
    let blind = [("STORE_USER", "blind"), ("STORE_PASSWORD", "pass")];
    has(&refused(&url, &blind), 3, &["denies CLUSTER SHARDS", "+cluster|shards"]);
}
