//! A server from its start to the end of its drain, and the requests that it refuses itself.

use axum::Router;
use axum::routing::get;
use service::server::{Server, Started, Worker};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

use crate::client::{answer, connect};

fn bind(workers: usize) -> Server {
    Server::bind("127.0.0.1:0".parse().unwrap(), NonZeroUsize::new(workers).unwrap()).unwrap()
}

fn start(workers: usize, router: impl Fn(&Worker) -> Router + Send + Sync + 'static) -> Started {
    bind(workers).start(router).unwrap()
}

fn exchange(addr: SocketAddr, head: &str) -> TcpStream {
    connect(addr, format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
}

#[test]
fn a_request_in_flight_ends_and_nothing_is_left() {
    let (release, arrived) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (r, a) = (Arc::clone(&release), Arc::clone(&arrived));
    let started = start(2, move |_| {
        let (r, a) = (Arc::clone(&r), Arc::clone(&a));
        Router::new().route(
            "/slow",
            get(move || async move {
                a.notify_one();
                r.notified().await;
                "done"
            }),
        )
    });
    let addr = started.local_addr();
    let pending = exchange(addr, "GET /slow HTTP/1.1");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(arrived.notified());
    let stopping = std::thread::spawn(move || started.stop(Duration::from_secs(10)));
    // The port closes while the request is still held.
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(addr).is_ok() {
        assert!(Instant::now() < deadline, "the listener stays open");
    }
    release.notify_one();
    assert!(answer(pending).ends_with("done"));
    assert_eq!(stopping.join().unwrap(), Vec::<String>::new());
}

#[test]
fn whoever_waits_in_the_queue_when_the_drain_begins_is_served() {
    let (release, gate) = mpsc::channel::<()>();
    let (entered, arrived) = mpsc::channel();
    let gate = Arc::new(parking_lot::Mutex::new(gate));
    let server = bind(1);
    let health = server.health();
    let started = server.start(move |_| {
        let (gate, entered) = (Arc::clone(&gate), entered.clone());
        // Blocks the only worker, so that no connection is accepted until the test releases it.
        let block = move || async move {
            let _ = entered.send(());
            let _ = gate.lock().recv();
            "done"
        };
        Router::new().route("/block", get(block)).route("/queued", get(|| async { "done" }))
    });
    let started = started.unwrap();
    let addr = started.local_addr();
    let mut waiting = vec![exchange(addr, "GET /block HTTP/1.1")];
    arrived.recv().unwrap();
    waiting.extend((0..400).map(|_| exchange(addr, "GET /queued HTTP/1.1")));
    let stopping = std::thread::spawn(move || started.stop(Duration::from_secs(20)));
    while !health.is_draining() {
        std::thread::yield_now();
    }
    release.send(()).unwrap();
    for stream in waiting {
        assert!(answer(stream).ends_with("done"));
    }
    assert_eq!(stopping.join().unwrap(), Vec::<String>::new());
}

#[test]
fn a_request_whose_client_leaves_at_once_still_reaches_its_handler() {
    let seen = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let started = start(1, move |_| {
        let count = Arc::clone(&count);
        let handler = move || async move {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            "counted"
        };
        Router::new().route("/", get(handler))
    });
    for _ in 0..500 {
        drop(exchange(started.local_addr(), "GET / HTTP/1.1"));
    }
    assert!(started.stop(Duration::from_secs(10)).is_empty());
    assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 500);
}

#[test]
fn what_outlives_the_grace_is_named() {
    let started = start(1, |worker| {
        drop(worker.tasks.spawn("stuck", std::future::pending::<()>()));
        Router::new()
    });
    assert_eq!(started.stop(Duration::from_secs(2)), ["stuck (1)"]);
}

#[test]
fn a_panic_is_a_500_without_its_text_and_the_next_request_is_served() {
    async fn panics() -> () {
        panic!("secret");
    }
    let started = start(1, |_| Router::new().route("/", get(panics)).route("/ok", get(|| async { "ok" })));
    let failed = answer(exchange(started.local_addr(), "GET / HTTP/1.1"));
    assert!(failed.starts_with("HTTP/1.1 500") && !failed.contains("secret"), "{failed}");
    assert!(failed.contains("\"kind\":\"internal\""), "{failed}");
    assert!(answer(exchange(started.local_addr(), "GET /ok HTTP/1.1")).ends_with("ok"));
    assert!(started.stop(Duration::from_secs(5)).is_empty());
}

#[test]
fn a_head_over_32_kib_is_431_a_malformed_one_400_and_one_of_a_long_key_is_served() {
    let started = start(1, |_| Router::new().route("/{key}", get(|| async { "ok" })));
    let key = "%41".repeat(512);
    assert!(answer(exchange(started.local_addr(), &format!("GET /{key} HTTP/1.1"))).ends_with("ok"));
    let head = format!("GET /k HTTP/1.1\r\nX: {}", "x".repeat(33 * 1024));
    let refused = answer(exchange(started.local_addr(), &head));
    assert!(refused.starts_with("HTTP/1.1 431"), "{refused}");
    let malformed = answer(exchange(started.local_addr(), "GET /<> HTTP/1.1"));
    assert!(malformed.starts_with("HTTP/1.1 400"), "{malformed}");
    assert!(started.stop(Duration::from_secs(5)).is_empty());
}

#[test]
fn head_and_the_http2_preface_are_refused() {
    let started = start(1, |_| Router::new().route("/ok", get(|| async { "ok" }).post(|| async { "ok" })));
    for method in ["HEAD", "PUT"] {
        let refused = answer(exchange(started.local_addr(), &format!("{method} /ok HTTP/1.1")));
        assert!(refused.starts_with("HTTP/1.1 405"), "{refused}");
        assert!(refused.contains("\r\nallow: GET,POST\r\n"), "{refused}");
    }
    let unknown = answer(exchange(started.local_addr(), "HEAD /nowhere HTTP/1.1"));
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
    let preface = answer(exchange(started.local_addr(), "PRI * HTTP/2.0\r\n\r\nSM"));
    assert!(preface.starts_with("HTTP/1.1 400"), "{preface}");
    assert!(started.stop(Duration::from_secs(5)).is_empty());
}
