//! The exact server: takes the place of a shard, counts every head and every byte, and answers.
//!
//! Each connection has a thread, so that only counters are shared. The server runs until the process ends.

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::heads::{Event, Kind, Message, Reader};
use super::keys::{self, KeyCounts};
use super::namespace::Namespace;
use super::tcp_info;

/// The server's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Complete heads `GET /data/{key}`.
    pub(crate) get: u64,
    /// Complete heads `POST /data`.
    pub(crate) set: u64,
    /// Other complete heads.
    pub(crate) control: u64,
    /// Bytes read from sockets.
    pub(crate) read: u64,
    /// Bytes written to sockets.
    pub(crate) written: u64,
    /// Bytes that TCP retransmitted, on ended connections with data requests.
    pub(crate) repeated: u64,
    /// Ended connections with data requests.
    pub(crate) ended: u64,
}

impl Counts {
    /// Data requests.
    pub(crate) const fn data(&self) -> u64 {
        self.get + self.set
    }

    /// Returns the counts since `before`.
    pub(crate) const fn since(&self, before: &Self) -> Self {
        Self {
            get: self.get - before.get,
            set: self.set - before.set,
            control: self.control - before.control,
            read: self.read - before.read,
            written: self.written - before.written,
            repeated: self.repeated - before.repeated,
            ended: self.ended - before.ended,
        }
    }
}

/// Connections with a control call, such as those of the probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControlConnections {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
}

#[derive(Debug, Default)]
struct Shared {
    get: AtomicU64,
    set: AtomicU64,
    control: AtomicU64,
    read: AtomicU64,
    written: AtomicU64,
    repeated: AtomicU64,
    ended: AtomicU64,
    in_flight: AtomicU64,
    control_opened: AtomicU64,
    control_closed: AtomicU64,
    keys: Mutex<KeyCounts>,
    started_at: f64,
    answer_bytes: usize,
    acknowledges_at_once: bool,
}

/// A running server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Its address.
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
}

/// Behaviour of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerOptions {
    /// Length of the body of an answer to a data request.
    pub(crate) answer_bytes: usize,
    /// Whether it acknowledges every segment at once.
    pub(crate) acknowledges_at_once: bool,
}

/// Longest wait of the server.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The port of every server in a namespace.
const PORT: u16 = 9000;

/// The server closes the connection after its answer to this target.
pub(crate) const CLOSING_TARGET: &str = "/data/closes";

/// Bodies are made of this.
static BODY: [u8; 1 << 16] = [b'x'; 1 << 16];

impl Server {
    /// Starts one on `bind`, in `namespace` if given; reached at `ip`.
    pub(crate) fn start(
        namespace: Option<&Namespace>,
        bind: SocketAddr,
        ip: IpAddr,
        options: ServerOptions,
    ) -> Result<Self> {
        let listen = || TcpListener::bind(bind).with_context(|| format!("cannot listen on {bind}"));
        let listener = match namespace {
            Some(namespace) => namespace.run(listen)??,
            None => listen()?,
        };
        let addr = SocketAddr::new(ip, listener.local_addr()?.port());
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let shared = Arc::new(Shared {
            started_at: started.as_secs_f64(),
            answer_bytes: options.answer_bytes,
            acknowledges_at_once: options.acknowledges_at_once,
            ..Shared::default()
        });
        let counts = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&counts);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Ok(Self { addr, shared })
    }

    /// One on the loopback interface with small answers.
    pub(crate) fn on_loopback() -> Result<Self> {
        let ip = IpAddr::from([127, 0, 0, 1]);
        Self::start(None, SocketAddr::new(ip, 0), ip, ServerOptions::default())
    }

    /// One in `namespace`, on a fixed port and an address that this process reaches.
    pub(crate) fn in_namespace(namespace: &Namespace, options: ServerOptions) -> Result<Self> {
        Self::start_there(namespace, IpAddr::V4(namespace.join_ours()?), options)
    }

    /// As [`in_namespace`](Self::in_namespace), over IPv6.
    pub(crate) fn in_namespace_v6(namespace: &Namespace, options: ServerOptions) -> Result<Self> {
        Self::start_there(namespace, IpAddr::V6(namespace.join_ours_v6()?), options)
    }

    fn start_there(namespace: &Namespace, ip: IpAddr, options: ServerOptions) -> Result<Self> {
        Self::start(Some(namespace), SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)), ip, options)
    }

    /// The address in the probe's settings.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The reads so far, by key.
    pub(crate) fn keys(&self) -> KeyCounts {
        self.shared.keys.lock().clone()
    }

    pub(crate) fn control_connections(&self) -> ControlConnections {
        // In this order none is closed that has not been opened.
        let closed = self.shared.control_closed.load(Ordering::SeqCst);
        ControlConnections { opened: self.shared.control_opened.load(Ordering::SeqCst), closed }
    }

    /// Waits until its counts are as wanted.
    pub(crate) fn until(&self, wanted: impl Fn(&Counts) -> bool) -> Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        while !wanted(&self.counts()) {
            if Instant::now() > deadline {
                bail!("the server did not reach the expected counts: {:?}", self.counts());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// What it has seen so far.
    pub(crate) fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let Shared { get, set, control, read, written, repeated, ended, .. } = &*self.shared;
        Counts {
            get: of(get),
            set: of(set),
            control: of(control),
            read: of(read),
            written: of(written),
            repeated: of(repeated),
            ended: of(ended),
        }
    }
}

/// The requests of a connection.
#[derive(Default)]
struct Connection {
    data: bool,
    control: bool,
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut connection = Connection::default();
    // An error means that the client closed the connection, as some rows do.
    let _ = converse(&mut stream, shared, &mut connection);
    if connection.data {
        shared.repeated.fetch_add(tcp_info::of(&stream).repeated_bytes, Ordering::SeqCst);
        shared.ended.fetch_add(1, Ordering::SeqCst);
    }
    drop(stream);
    if connection.control {
        shared.control_closed.fetch_add(1, Ordering::SeqCst);
    }
}

fn converse(stream: &mut TcpStream, shared: &Shared, connection: &mut Connection) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::default();
    let mut buffer = [0; 1 << 14];
    loop {
        if shared.acknowledges_at_once {
            SockRef::from(&*stream).set_tcp_quickack(true)?;
        }
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let mut requests: Vec<Message> = Vec::new();
        let mut interim = false;
        reader.feed(&buffer[..length], |event| {
            // Bytes after the last request of a connection are never read.
            if requests.last().is_some_and(closes) {
                return;
            }
            match event {
                Event::Head(head) => {
                    if head.kind != Kind::Control {
                        connection.data = true;
                    } else if !std::mem::replace(&mut connection.control, true) {
                        shared.control_opened.fetch_add(1, Ordering::SeqCst);
                    }
                    interim |= head.expects;
                    shared.count(head.kind);
                }
                Event::Complete(message) => {
                    shared.count_key(&message);
                    requests.push(message);
                }
            }
        });
        // Bytes are counted last, so that the heads in them are already counted.
        shared.read.fetch_add(length as u64, Ordering::SeqCst);
        if interim {
            shared.write(stream, b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        shared.answer(stream, &requests)?;
        if requests.last().is_some_and(closes) {
            return Ok(());
        }
    }
}

/// Whether the connection ends after this request, as the client or the server decides.
fn closes(request: &Message) -> bool {
    request.closes || request.target == CLOSING_TARGET
}

impl Shared {
    fn count(&self, kind: Kind) {
        let counter = match kind {
            Kind::Get => &self.get,
            Kind::Set => &self.set,
            Kind::Control => &self.control,
        };
        if kind != Kind::Control {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
        }
        counter.fetch_add(1, Ordering::SeqCst);
    }

    fn count_key(&self, request: &Message) {
        if request.kind == Kind::Get
            && let Some(key) = keys::of_target(&request.target)
        {
            *self.keys.lock().entry(key.to_owned()).or_default() += 1;
        }
    }

    /// Answers to all of `requests`; small ones together, as a shard answers what was pipelined.
    fn answer(&self, stream: &mut TcpStream, requests: &[Message]) -> std::io::Result<()> {
        let data = requests.iter().filter(|request| request.kind != Kind::Control).count() as u64;
        self.in_flight.fetch_sub(data, Ordering::SeqCst);
        let mut small = Vec::new();
        for request in requests {
            let stats = if request.target == "/stats" { self.stats() } else { String::new() };
            let ending = if closes(request) { "Connection: close\r\n" } else { "" };
            let body = if request.kind == Kind::Control { stats.len() } else { self.answer_bytes };
            small.extend_from_slice(
                format!("HTTP/1.1 200 OK\r\n{ending}Content-Length: {body}\r\n\r\n{stats}").as_bytes(),
            );
            if request.kind != Kind::Control && body > 0 {
                self.write(stream, &small)?;
                small.clear();
                let mut left = body;
                while left > 0 {
                    let part = left.min(BODY.len());
                    self.write(stream, &BODY[..part])?;
                    left -= part;
                }
            }
        }
        self.write(stream, &small)
    }

    fn write(&self, stream: &mut TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let length = stream.write(bytes)?;
            self.written.fetch_add(length as u64, Ordering::SeqCst);
            bytes = &bytes[length..];
        }
        Ok(())
    }

    /// A shard's `/stats`, without keys.
    fn stats(&self) -> String {
        let of = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let active = of(&self.in_flight);
        let stats = serde_json::json!({
            "shard_id": 0, "total_keys": 0, "total_accesses": 0,
            "requests_received": of(&self.get) + of(&self.set),
            "started_at": self.started_at,
            "active_requests": active,
            "requests_served": 0, "requests_rejected": 0, "requests_shed": 0, "top_keys": [], "hot_keys": [],
            "verdict": {"state": "balanced", "requests": 0, "window_seconds": 0.0, "sentence": ""},
        });
        stats.to_string()
    }
}
