//! Tests the limits of connections, bodies and answers, and clients that are too slow.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use service::health;
use service::limits::{BODIES_BYTES, MIN_CONNECTIONS, Needs};
use service::metrics::Metrics;
use service::server::{Server, Started};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

use crate::client::{answer, connect, until};

/// More than the sockets of one connection buffer.
const LARGE: usize = 12 << 20;

/// A server with the smallest limit of connections. `/wait` ends at the notification.
struct Small {
    started: Started,
    addr: SocketAddr,
    wait: Arc<Notify>,
    waiting: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Small {
    fn start() -> Self {
        let mut server = Server::bind("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN).unwrap();
        // A memory limit that fits nothing.
        server.needs(Needs { memory_limit: Some(1), ..Needs::default() });
        let (metrics, overload, health) = (Arc::new(Metrics::default()), server.overload(), server.health());
        overload.register(&metrics).unwrap();
        let (wait, waiting, refused) =
            (Arc::new(Notify::new()), Arc::default(), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&refused);
        server.on_refused(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (release, begun) = (Arc::clone(&wait), Arc::<AtomicUsize>::clone(&waiting));
        let started = server.start(move |_| {
            let (release, begun, overload) = (Arc::clone(&release), Arc::clone(&begun), overload.clone());
            let waits = move || async move {
                begun.fetch_add(1, Ordering::Relaxed);
                release.notified().await;
                "done"
            };
            let echo =
                move |body: Body| async move { overload.read(body).await.map(|body| body.len().to_string()) };
            Router::new()
                .route("/ok", get(|| async { "ok" }))
                .route("/wait", get(waits))
                .route("/large", get(|| async { Bytes::from_static(&[b' '; LARGE]) }))
                .route("/length", post(echo))
                .merge(health::routes(health.clone(), Arc::clone(&metrics)))
        });
        let started = started.unwrap();
        Self { addr: started.local_addr(), started, wait, waiting, refused }
    }

    fn get(&self, path: &str) -> String {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        answer(connect(self.addr, head.as_bytes()))
    }

    /// The value of a series with this reason.
    fn shed(&self, what: &str, reason: &str) -> u64 {
        let metrics = self.get("/metrics");
        let name = format!("service_{what}_shed_total{{reason=\"{reason}\"}} ");
        let value = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {metrics}"))
    }
}

/// A connection that stays open after a request.
fn kept(addr: SocketAddr) -> TcpStream {
    let mut stream = connect(addr, b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut part = [0; 512];
    assert!(stream.read(&mut part).unwrap() > 0);
    stream
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    peeked.is_err_and(|err| err.kind() == std::io::ErrorKind::WouldBlock)
}

fn pause(time: Duration) {
    std::thread::park_timeout(time);
}

#[test]
fn the_longest_idle_connections_end_for_new_ones() {
    let small = Small::start();
    let old: Vec<_> = (0..4).map(|_| kept(small.addr)).collect();
    pause(Duration::from_millis(700));
    let young: Vec<_> = (4..MIN_CONNECTIONS - 2).map(|_| kept(small.addr)).collect();
    pause(Duration::from_millis(1_200));
    let new: Vec<_> = (0..4).map(|_| kept(small.addr)).collect();
    until(|| old.iter().filter(|stream| is_open(stream)).count() <= 2);
    assert!(young.iter().chain(&new).all(is_open));
    assert!(small.shed("connections", "idle") >= 2);
    assert_eq!(small.shed("connections", "refused"), 0);
    assert!(small.started.stop(Duration::from_secs(10)).is_empty());
}

#[test]
fn beyond_the_limit_control_requests_are_answered_and_others_refused_until_there_is_room() {
    let small = Small::start();
    let request = b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let busy: Vec<_> = (0..MIN_CONNECTIONS).map(|_| connect(small.addr, request)).collect();
    until(|| small.waiting.load(Ordering::Relaxed) == MIN_CONNECTIONS);
    for path in ["/ready", "/live", "/metrics"] {
        let before = Instant::now();
        assert!(small.get(path).starts_with("HTTP/1.1 200"), "{path}");
        assert!(before.elapsed() < Duration::from_millis(500), "{path}: {:?}", before.elapsed());
    }
    // Clients that send nothing do not keep them out either.
    let mute: Vec<_> = (0..100).map(|_| connect(small.addr, b"")).collect();
    let before = Instant::now();
    assert!(small.get("/ready").starts_with("HTTP/1.1 200"));
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    let refused = small.get("/ok");
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("\"kind\":\"overloaded\""), "{refused}");
    assert!(refused.contains("retry-after: 1") && refused.contains("connection: close"), "{refused}");
    assert_eq!(small.refused.load(Ordering::Relaxed), 1);
    drop(mute);
    small.wait.notify_waiters();
    let before = Instant::now();
    until(|| small.get("/ok").starts_with("HTTP/1.1 200"));
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    for stream in busy {
        assert!(answer(stream).ends_with("done"));
    }
    assert!(small.shed("connections", "refused") >= 1);
    assert!(small.started.stop(Duration::from_secs(10)).is_empty());
}

#[test]
fn without_idle_connections_those_without_progress_end() {
    let small = Small::start();
    let held = ["GET /o", "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1"];
    let held: Vec<_> =
        (0..MIN_CONNECTIONS).map(|index| connect(small.addr, held[index % 2].as_bytes())).collect();
    pause(Duration::from_millis(1_700));
    assert!(small.get("/ok").starts_with("HTTP/1.1 200"));
    assert!(small.shed("connections", "stalled") >= 1);
    drop(held);
    assert!(small.started.stop(Duration::from_secs(10)).is_empty());
}

#[test]
fn slow_clients_lose_their_connection_after_ten_seconds() {
    let small = Small::start();
    let began = Instant::now();
    let mut trickle = connect(small.addr, b"GET /ok HTTP/1.1\r\nX: ");
    let unread = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3);
    let slow = [
        connect(small.addr, b""),
        connect(small.addr, b"GET /o"),
        connect(small.addr, unread.as_bytes()),
        trickle.try_clone().unwrap(),
    ];
    let mut second = kept(small.addr);
    second.write_all(b"GET /o").unwrap();
    let busy = connect(small.addr, b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let idle = kept(small.addr);
    while began.elapsed() < Duration::from_secs(9) {
        trickle.write_all(b"x").unwrap();
        pause(Duration::from_millis(100));
    }
    until(|| {
        let gone = small.shed("connections", "head_timeout") == 4;
        gone && small.shed("connections", "write_timeout") == 1
    });
    assert!((9..13).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(!slow[..2].iter().chain([&second]).any(is_open));
    assert!(is_open(&busy) && is_open(&idle));
    small.wait.notify_waiters();
    assert!(answer(busy).ends_with("done"));
    assert!(small.started.stop(Duration::from_secs(10)).is_empty());
}

#[test]
fn answers_that_nobody_reads_take_bounded_room_and_give_it_back() {
    let small = Small::start();
    let request = |path: &str| {
        let mut stream = connect(small.addr, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        (stream, String::from_utf8(status.to_vec()).unwrap())
    };
    let mut held: Vec<_> = (0..12).map(|_| request("/large")).collect();
    let answered: Vec<&str> = held.iter().map(|(_, status)| status.as_str()).collect();
    assert_eq!(answered[..2], ["HTTP/1.1 200"; 2]);
    assert!(answered[2..].iter().all(|status| *status == "HTTP/1.1 503"), "{answered:?}");
    for path in ["/ok", "/live", "/ready", "/metrics"] {
        assert_eq!(request(path).1, "HTTP/1.1 200", "{path}");
    }
    // One client reads its answer to the end.
    held[0].0.read_exact(&mut vec![0; LARGE]).unwrap();
    until(|| {
        held.push(request("/large"));
        held.last().is_some_and(|(_, status)| status == "HTTP/1.1 200")
    });
    assert!(small.shed("requests", "answer") >= 10);
    // Two clients read nothing. They lose their connections when there is no room for others.
    until(|| request("/large").1 == "HTTP/1.1 200");
    assert!(small.shed("connections", "stalled") >= 1);
    drop(held);
    assert!(small.started.stop(Duration::from_secs(10)).is_empty());
}

#[test]
fn unfinished_bodies_take_bounded_room_and_small_ones_need_none() {
    // Not that of the smallest limit, which is below the number of connections here.
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), NonZeroUsize::MIN).unwrap();
    let overload = server.overload();
    let started = server.start(move |_| {
        let overload = overload.clone();
        let echo =
            move |body: Body| async move { overload.read(body).await.map(|body| body.len().to_string()) };
        Router::new().route("/length", post(echo))
    });
    let started = started.unwrap();
    let begin = |length: usize, sent: usize| {
        let head = format!(
            "POST /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(sent)
        );
        connect(started.local_addr(), head.as_bytes())
    };
    assert!(answer(begin(60_000, 60_000)).ends_with("60000"));
    let most = BODIES_BYTES / 60_000;
    let unfinished: Vec<_> = (0..most + 40).map(|_| begin(60_001, 60_000)).collect();
    assert!(answer(begin(4_000, 4_000)).ends_with("4000"));
    // Those without room are answered once their body is late.
    pause(Duration::from_millis(1_500));
    let is_refused = |mut stream: TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let mut status = [0; 12];
        stream.read(&mut status).is_ok() && &status == b"HTTP/1.1 503"
    };
    let refused = unfinished.into_iter().filter(|stream| is_refused(stream.try_clone().unwrap())).count();
    assert!(refused >= 40, "{refused}");
    until(|| answer(begin(60_000, 60_000)).ends_with("60000"));
    assert!(started.stop(Duration::from_secs(10)).is_empty());
}
