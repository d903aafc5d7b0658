//! Tests what a drain waits for, and what it ignores.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::client::{Slow, answer, connect, until};

#[test]
fn a_connection_without_a_whole_request_delays_no_drain() {
    let unread = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50);
    for sent in [
        "",
        "\r\n",
        "GET /o",
        "GET /ok HTTP/1.1\r\nHost: x\r\nX-A: b",
        "GET /ok HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /ok HTTP/1.1\r\nHost: x\r\n\r\nGET /o",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nb",
        &unread,
    ] {
        for slow in Slow::both() {
            let started = slow.start(&Arc::default());
            let stream = connect(started.local_addr(), sent.as_bytes());
            // Time for the server to read the request and to fill the buffers of an unread answer.
            std::thread::park_timeout(Duration::from_millis(200));
            let began = Instant::now();
            assert!(started.stop(Duration::from_secs(10)).is_empty(), "{sent:.60}");
            assert!(began.elapsed() < Duration::from_secs(1), "{:?} for {sent:.60}", began.elapsed());
            drop(stream);
        }
    }
}

#[test]
fn a_trickling_head_delays_no_drain() {
    for slow in Slow::both() {
        let refused = Arc::default();
        let started = slow.start(&refused);
        let mut stream = connect(started.local_addr(), b"GET /ok HTTP/1.1\r\nX: ");
        let trickle = std::thread::spawn(move || {
            while std::io::Write::write_all(&mut stream, b"x").is_ok() {
                std::thread::park_timeout(Duration::from_millis(10));
            }
        });
        let began = Instant::now();
        assert!(started.stop(Duration::from_secs(10)).is_empty());
        assert!(began.elapsed() < Duration::from_secs(1));
        trickle.join().unwrap();
    }
}

#[test]
fn a_request_in_service_and_a_slow_reader_are_waited_for() {
    for slow in Slow::both() {
        let refused = Arc::default();
        let started = slow.start(&refused);
        let addr = started.local_addr();
        let waiting = connect(addr, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut reading = connect(addr, b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        until(|| slow.begun.load(Ordering::Relaxed) == 1);
        let stopping = std::thread::spawn(move || started.stop(Duration::from_secs(10)));
        let reader = std::thread::spawn(move || {
            let (mut total, mut part) = (0, vec![0; 64 * 1024]);
            while let Ok(length @ 1..) = std::io::Read::read(&mut reading, &mut part) {
                total += length;
                std::thread::park_timeout(Duration::from_millis(20));
            }
            total
        });
        assert!(answer(waiting).ends_with("slow"));
        assert!(reader.join().unwrap() > 1 << 20);
        assert_eq!(stopping.join().unwrap(), Vec::<String>::new());
    }
}
