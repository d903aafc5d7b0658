//! Provides privileges, a probe, a server, and a client that counts.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use probe::kernel::object::Switches;
use probe::kernel::preflight;
use probe::signal::key_table::KeyTable;
use probe::source::{Counters, KernelSource, Source};
use probe_common::endpoint::{Endpoint, Listener};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// Timeout of every wait.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Whether this test can run. Otherwise prints the reason in one line, and fails in CI.
pub(crate) fn privileges(test: &str) -> bool {
    let Some(why) = preflight::check(None).into_iter().find(|finding| !finding.passed) else { return true };
    #[expect(clippy::disallowed_methods, reason = "whether a skipped test is a failure is CI's to say")]
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "{test} must not be skipped in CI: {}", why.line());
    println!("SKIPPED {test}: {}", why.line());
    false
}

/// Keeps this thread, and the threads that it starts, on one CPU until dropped.
///
/// Loopback queues packets per sending CPU. If the sender moves, or two CPUs send for one connection, segments arrive
/// out of order, and the probe counts requests in them as unparsed.
pub(crate) struct OneCpu(CpuSet);

impl OneCpu {
    pub(crate) fn pin() -> Self {
        let before = sched_getaffinity(None).unwrap();
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        sched_setaffinity(None, &one).unwrap();
        Self(before)
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.0).unwrap();
    }
}

/// A probe of one shard with id 0, at a server of the test.
pub(crate) struct Watched {
    pub(crate) source: KernelSource,
    pub(crate) server: Server,
}

impl Watched {
    /// Starts a server at `bind`, port 0, and watches it at `address`.
    pub(crate) fn at(bind: &str, address: &str) -> Self {
        let server = Server::start(bind);
        let mut watched = Self { source: attached(), server };
        watched.watch(address.parse().unwrap());
        watched
    }

    /// Combines a running server with a source that does not watch it yet.
    pub(crate) fn of(server: Server, source: KernelSource) -> Self {
        Self { source, server }
    }

    /// The endpoints that [`watch`](Self::watch) watches on IPv4 loopback.
    pub(crate) fn endpoints(&self) -> BTreeMap<Endpoint, Listener> {
        BTreeMap::from([(SocketAddr::from(([127, 0, 0, 1], self.server.port)).into(), Listener::anywhere(0))])
    }

    /// A server and probe on IPv4 loopback.
    pub(crate) fn v4() -> Self {
        Self::at("127.0.0.1", "127.0.0.1")
    }

    pub(crate) fn watch(&mut self, address: IpAddr) {
        self.watch_all(&[SocketAddr::new(address, self.server.port)]);
    }

    /// Watches all addresses as shard 0.
    pub(crate) fn watch_all(&mut self, addresses: &[SocketAddr]) {
        let endpoints = addresses.iter().map(|address| ((*address).into(), Listener::anywhere(0))).collect();
        self.source.watch(&endpoints).unwrap();
    }

    /// The keys once the server has read `sent` bytes.
    pub(crate) fn keys(&mut self, sent: u64) -> KeyTable {
        self.server.wait_for(sent);
        self.decided();
        self.source.keys(0).unwrap()
    }

    /// The counters once the server has read `sent` bytes.
    pub(crate) fn counters(&mut self, sent: u64) -> Counters {
        self.server.wait_for(sent);
        self.decided()
    }

    /// The counters once TCP has accepted or dropped all segments that have arrived.
    pub(crate) fn decided(&mut self) -> Counters {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let counters = self.source.read(0).unwrap();
            if counters.requests.undecided() == 0 {
                return counters;
            }
            assert!(Instant::now() < deadline, "undecided: {counters:?}");
            std::thread::yield_now();
        }
    }
}

pub(crate) fn attached() -> KernelSource {
    attached_with(Switches { rtt: true, ..Switches::default() })
}

pub(crate) fn attached_with(switches: Switches) -> KernelSource {
    let cgroup = preflight::cgroup(None).unwrap();
    KernelSource::embedded(&cgroup, switches).unwrap().0
}

/// A server that answers each read once.
pub(crate) struct Server {
    pub(crate) port: u16,
    read: Arc<AtomicU64>,
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

impl Server {
    pub(crate) fn start(bind: &str) -> Self {
        let listener = TcpListener::bind((bind, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let read = Arc::new(AtomicU64::new(0));
        let total = Arc::clone(&read);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let total = Arc::clone(&total);
                std::thread::spawn(move || serve(stream, &total));
            }
        });
        Self { port, read }
    }

    /// Waits until `bytes` bytes in all have been read.
    pub(crate) fn wait_for(&self, bytes: u64) {
        let deadline = Instant::now() + TIMEOUT;
        while self.read.load(Ordering::SeqCst) < bytes {
            assert!(Instant::now() < deadline, "the server has {:?} of {bytes} bytes", self.read);
            std::thread::yield_now();
        }
        assert_eq!(self.read.load(Ordering::SeqCst), bytes, "the server read more than was sent");
    }
}

fn serve(mut stream: TcpStream, total: &AtomicU64) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        total.fetch_add(length as u64, Ordering::SeqCst);
        if stream.write_all(ANSWER).is_err() {
            return;
        }
    }
}

/// A connection that counts the bytes it sends.
pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Client {
    pub(crate) fn connect(address: &str, port: u16) -> Self {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        Self::over(TcpStream::connect_timeout(&address, TIMEOUT).unwrap())
    }

    /// Uses an open connection.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self { stream, sent: 0, received: 0 }
    }

    /// Sends bytes in one write.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.sent += bytes.len() as u64;
    }

    /// Sends bytes and waits for an answer.
    pub(crate) fn exchange(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.answer();
    }

    /// A second handle of the connection, for reading.
    pub(crate) fn reader(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Waits for one answer.
    pub(crate) fn answer(&mut self) {
        let mut answer = [0; ANSWER.len()];
        self.stream.read_exact(&mut answer).unwrap();
        self.received += answer.len() as u64;
    }
}

/// A typical read of a key.
pub(crate) fn get(key: &str) -> Vec<u8> {
    format!("GET /data/{key} HTTP/1.1\r\naccept: */*\r\nhost: 127.0.0.1:9000\r\n\r\n").into_bytes()
}

/// A typical write with this body.
pub(crate) fn post(body: &[u8]) -> Vec<u8> {
    let head = format!("POST /data HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
