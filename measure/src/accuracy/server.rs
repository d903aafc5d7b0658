//! The exact server: stands in for a shard, counts every head and every byte, and answers.
//!
//! One thread a connection, so that nothing is shared but counters. It runs until the process ends.

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::heads::{Event, Kind, Message, Reader};
use super::keys::{self, KeyCounts};
use super::namespace::Namespace;
use super::tcp_info;

/// What the server has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Complete heads `GET /data/{key}`.
    pub get: u64,
    /// Complete heads `POST /data`.
    pub set: u64,
    /// Other complete heads.
    pub control: u64,
    /// Bytes read from sockets.
    pub read: u64,
    /// Bytes written to sockets.
    pub written: u64,
    /// Bytes that TCP sent again, on connections that asked for data and have ended.
    pub repeated: u64,
    /// Those connections.
    pub ended: u64,
}

impl Counts {
    /// Data requests.
    #[must_use]
    pub const fn data(&self) -> u64 {
        self.get + self.set
    }

    /// What was seen since `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
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
    keys: Mutex<KeyCounts>,
    started_at: f64,
    answer_bytes: usize,
    acknowledges_at_once: bool,
}

/// A running server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is reached.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

/// How a server is to behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Length of the body of an answer to a data request.
    pub answer_bytes: usize,
    /// Whether it has every segment acknowledged at once.
    pub acknowledges_at_once: bool,
}

/// Nothing that is waited for here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bodies are made of this.
static BODY: [u8; 1 << 16] = [b'x'; 1 << 16];

impl Server {
    /// Starts one on `bind`, in `namespace` if given; reached at `ip`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(
        namespace: Option<&Namespace>,
        bind: SocketAddr,
        ip: IpAddr,
        manner: Manner,
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
            answer_bytes: manner.answer_bytes,
            acknowledges_at_once: manner.acknowledges_at_once,
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
    ///
    /// # Errors
    /// When no port can be had.
    pub fn on_loopback() -> Result<Self> {
        let ip = IpAddr::from([127, 0, 0, 1]);
        Self::start(None, SocketAddr::new(ip, 0), ip, Manner::default())
    }

    /// The address as the probe is told it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The reads so far, by key.
    #[must_use]
    pub fn keys(&self) -> KeyCounts {
        self.shared.keys.lock().clone()
    }

    /// Waits until its counts are as wanted.
    ///
    /// # Errors
    /// When they are not within a minute.
    pub fn until(&self, wanted: impl Fn(&Counts) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !wanted(&self.counts()) {
            if Instant::now() > deadline {
                bail!("the server does not get there: {:?}", self.counts());
            }
            std::thread::yield_now();
        }
        Ok(())
    }

    /// What it has seen so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
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

fn serve(mut stream: TcpStream, shared: &Shared) {
    let mut asked = false;
    let outcome = converse(&mut stream, shared, &mut asked);
    // Client and server are of one process: an error is the client's hanging up, which some rows want.
    drop(outcome);
    // The probe's own connections come and go as it likes.
    if asked {
        shared.repeated.fetch_add(tcp_info::of(&stream).repeated_bytes, Ordering::SeqCst);
        shared.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// `asked` becomes true when data is asked for.
fn converse(stream: &mut TcpStream, shared: &Shared, asked: &mut bool) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::default();
    let mut buffer = vec![0; 1 << 16];
    loop {
        if shared.acknowledges_at_once {
            tcp_info::acknowledge_at_once(stream);
        }
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let mut requests = Vec::new();
        reader.feed(&buffer[..length], |event| match event {
            Event::Head(kind) => {
                *asked |= kind != Kind::Control;
                shared.count(kind);
            }
            Event::Complete(message) => {
                shared.count_key(&message);
                requests.push(message);
            }
        });
        // Last, so that whoever waits for bytes finds the heads in them counted.
        shared.read.fetch_add(length as u64, Ordering::SeqCst);
        let closes = requests.iter().any(|request| request.closes);
        shared.answer(stream, &requests)?;
        if closes {
            return Ok(());
        }
    }
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
            let body = if request.kind == Kind::Control { stats.len() } else { self.answer_bytes };
            small.extend_from_slice(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n{stats}").as_bytes(),
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
