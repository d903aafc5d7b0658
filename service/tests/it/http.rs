//! Tests half-closed and reset connections, and the `Host` header.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::client::{Slow, answer, connect, until};

#[test]
fn a_client_that_closes_its_sending_side_gets_its_answer() {
    for slow in Slow::both() {
        let refused = Arc::default();
        let started = slow.start(&refused);
        for (request, expected) in [
            ("GET /ok HTTP/1.1\r\nHost: x\r\n\r\n", "ok"),
            ("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", "slow"),
            ("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody", "body"),
            ("GET /ok HTTP/1.1\r\nHost: x\r\n\r\nGET /slow HTTP/1.1\r\nHost: x\r\n\r\n", "slow"),
        ] {
            let stream = connect(started.local_addr(), request.as_bytes());
            stream.shutdown(Shutdown::Write).unwrap();
            assert!(answer(stream).ends_with(expected), "{request}");
        }
        assert!(started.stop(Duration::from_secs(10)).is_empty());
    }
}

#[test]
fn a_request_whose_client_resets_the_connection_is_given_up() {
    for slow in Slow::both() {
        let refused = Arc::default();
        let started = slow.start(&refused);
        let stream = connect(started.local_addr(), b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        until(|| slow.begun.load(Ordering::Relaxed) == 1);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        let before = std::time::Instant::now();
        drop(stream);
        until(|| slow.gone.load(Ordering::Relaxed) == 1);
        assert!(before.elapsed() < crate::client::SLOW / 2);
        assert!(started.stop(Duration::from_secs(10)).is_empty());
    }
}

#[test]
fn a_request_needs_one_valid_host_and_a_refused_one_is_reported() {
    for slow in Slow::both() {
        let refused = Arc::<AtomicUsize>::default();
        let started = slow.start(&refused);
        let status = |version: &str, hosts: &str| {
            let request = format!("GET /ok HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n");
            let answer = answer(connect(started.local_addr(), request.as_bytes()));
            answer.split(' ').nth(1).unwrap().to_owned()
        };
        for hosts in ["", "Host: a\r\nHost: a\r\n", "Host: a b/c\r\n", "Host: \u{fc}\r\n"] {
            assert_eq!(status("1.1", hosts), "400", "{hosts:?}");
        }
        assert_eq!(refused.load(Ordering::Relaxed), 4);
        assert_eq!((status("1.1", "Host:\r\n"), status("1.0", "")), ("200".into(), "200".into()));
        assert_eq!(refused.load(Ordering::Relaxed), 4);
        assert!(started.stop(Duration::from_secs(10)).is_empty());
    }
}
