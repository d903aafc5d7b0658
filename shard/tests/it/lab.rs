//! A shard on a free port, and a client for raw bytes.

use clap::Parser;
use protocol::body::ShardStats;
use serde_json::Value;
use service::server::Started;
use shard::config::{Args, Config};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A running shard with id 2.
pub(crate) struct Lab {
    started: Option<Started>,
    pub(crate) addr: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }
}

impl Lab {
    /// Starts a shard with the options of `args`. Latencies are 0 unless `args` sets one.
    pub(crate) fn start(args: &[&str]) -> Self {
        let fixed = ["shard", "--shard-id=2", "--port=0", "--workers=2"];
        let mut all: Vec<&str> = fixed.to_vec();
        if !args.iter().any(|arg| arg.contains("latency")) {
            all.extend(["--base-latency-ms=0", "--load-latency-factor-ms=0"]);
        }
        all.extend(args);
        let config = Config::try_from(Args::try_parse_from(all).unwrap()).unwrap();
        let started = config.build().unwrap().start().unwrap();
        Self { addr: started.local_addr(), started: Some(started) }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.addr)
    }

    pub(crate) fn exchange(&self, request: &[u8]) -> Answer {
        exchange(self.addr, request)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        exchange(self.addr, &head("GET", path))
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        exchange(self.addr, &post(path, body))
    }

    pub(crate) fn stats(&self) -> ShardStats {
        serde_json::from_str(&self.get("/stats").body).unwrap()
    }

    /// The value of one series, or 0 if it is absent.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until `wanted` accepts the statistics, and returns them.
    pub(crate) fn stats_when(&self, wanted: impl Fn(&ShardStats) -> bool) -> ShardStats {
        until(|| Some(self.stats()).filter(&wanted), || format!("{:?}", self.stats()))
    }

    pub(crate) fn stop(mut self, grace: Duration) -> Vec<String> {
        self.started.take().map(|started| started.stop(grace)).unwrap_or_default()
    }
}

/// A request without a body.
pub(crate) fn head(method: &str, target: &str) -> Vec<u8> {
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

/// A POST with the form content type, like `curl -d`.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let kind = "application/x-www-form-urlencoded";
    let len = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {len}\r\n\r\n{body}"
    )
    .into_bytes()
}

pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Resets the connection. After a normal close the client might still read its answer, so the shard would have to serve
/// it.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

pub(crate) fn exchange(addr: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(addr);
    stream.write_all(request).unwrap();
    answer(stream)
}

/// Reads the answer to the last request of a connection.
pub(crate) fn answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A server may reset a connection if it did not read the whole request. Bytes received before the reset count.
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Calls `ask` until it returns a value, for at most 20 s.
pub(crate) fn until<T>(mut exchange: impl FnMut() -> Option<T>, state: impl Fn() -> String) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = exchange() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {}", state());
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
