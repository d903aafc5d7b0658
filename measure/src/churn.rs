//! Connections opened and closed without end against a server like a shard: do the probe's counts stay exact, and do it
//! and its maps stay as large as they were?

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::accuracy::probe::{Counted, Probe, Stage};
use crate::accuracy::tcp_info;

/// Connections under way at once; each has a thread of the server's.
const CLIENTS: u64 = 4;

/// Threads of the server, a few more than clients for the probe's own `/stats` calls.
const SERVERS: u64 = CLIENTS + 4;

/// Every so manieth connection ends in order by its client, and leaves a port in TIME_WAIT: few enough for any run.
const IN_ORDER: u64 = 50;

/// Every so manieth of the others is ended by the server.
const BY_SERVER: u64 = 4;

/// How much the probe may grow after the second tenth: until then it sets up all that is set up once, windows of ten seconds
/// among it.
const GROWTH: u64 = 2 << 20;

const PATIENCE: Duration = Duration::from_secs(30);

/// The probe at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Moment {
    /// Seconds since the start.
    pub seconds: f64,
    /// Connections that the clients have ended.
    pub ended: u64,
    /// What the probe says, without its own connections.
    pub opened: u64,
    /// The same.
    pub closed: u64,
    /// The same.
    pub open: u64,
    /// Its resident memory.
    pub resident_bytes: u64,
    /// What the kernel holds for its maps.
    pub map_bytes: u64,
}

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Ten moments, and the last.
    pub moments: Vec<Moment>,
    /// How many connections there were.
    pub connections: u64,
    /// What does not hold; empty if all does.
    pub broken: Vec<String>,
}

/// Connections by who made them.
#[derive(Debug, Default)]
struct Tally {
    /// Those that asked for `/stats`: the probe's own.
    own: AtomicU64,
    own_ended: AtomicU64,
    /// Clients' connections that the clients have ended.
    ended: AtomicU64,
    started_at: f64,
}

/// Opens and closes `connections` and says after each tenth, by `progress`, how the probe is.
///
/// # Errors
/// When the probe at that path or the connections cannot be had.
pub fn run(probe: &Path, connections: u64, progress: impl Fn(&Moment)) -> Result<Outcome> {
    let started_at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    let tally = Arc::new(Tally { started_at, ..Tally::default() });
    let addr = serve(&tally)?;
    let stage = Stage::new(probe)?;
    let probe = stage.start_probe_at(format!("http://{addr}"));
    let start = Instant::now();
    let mut moments = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let tally = &tally;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || come_and_go(addr, client, connections, tally)))
            .collect();
        for tenth in 1..10 {
            let wanted = connections * tenth / 10;
            while tally.ended.load(Ordering::SeqCst) < wanted {
                if clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                    break;
                }
                // Nothing to wait on but the count itself.
                stage.pause();
            }
            let moment = look(&probe, tally, start)?;
            progress(&moment);
            moments.push(moment);
        }
        for client in clients {
            client
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?
                .context("a connection failed")?;
        }
        Ok(())
    })?;
    // The last ones end in the kernel after their clients have.
    let last = stage.until(PATIENCE, || {
        let now = look(&probe, &tally, start).map_err(|error| error.to_string())?;
        if (now.opened, now.closed) == (connections, connections) { Ok(now) } else { Err(format!("{now:?}")) }
    });
    let last = last.or_else(|_| look(&probe, &tally, start))?;
    progress(&last);
    moments.push(last);
    probe.stop();
    Ok(judge(moments, connections))
}

/// Every [`CLIENTS`]th connection, beginning with number `first`.
fn come_and_go(addr: SocketAddr, first: u64, connections: u64, tally: &Tally) -> Result<()> {
    let mut index = first;
    while index < connections {
        connect(addr, index)?;
        tally.ended.fetch_add(1, Ordering::SeqCst);
        index += CLIENTS;
    }
    Ok(())
}

/// Reads the probe. Its own connections are taken off: they come and go as it likes.
fn look(probe: &Probe<'_>, tally: &Tally, start: Instant) -> Result<Moment> {
    let own = (tally.own.load(Ordering::SeqCst), tally.own_ended.load(Ordering::SeqCst));
    let ended = tally.ended.load(Ordering::SeqCst);
    let all = probe.counted()?;
    let Some(Counted { opened, closed, open, .. }) = all.first() else { bail!("the probe knows no shard") };
    Ok(Moment {
        seconds: start.elapsed().as_secs_f64(),
        ended,
        opened: opened.saturating_sub(own.0),
        closed: closed.saturating_sub(own.1),
        open: open.saturating_sub(own.0 - own.1),
        resident_bytes: probe.resident_bytes(),
        map_bytes: probe.map_bytes()?,
    })
}

fn judge(moments: Vec<Moment>, connections: u64) -> Outcome {
    let mut broken = Vec::new();
    if let (Some(first), Some(last)) = (moments.first(), moments.last()) {
        for (what, count) in [("opened", last.opened), ("closed", last.closed)] {
            if count != connections {
                broken.push(format!("{what}: {count}, not {connections}"));
            }
        }
        if last.open != 0 {
            broken.push(format!("{} are still open", last.open));
        }
        let settled = moments.get(1).unwrap_or(first);
        let grown = last.resident_bytes.saturating_sub(settled.resident_bytes);
        if grown > GROWTH {
            broken.push(format!("the probe grew by {} KiB after the second tenth", grown >> 10));
        }
        if last.map_bytes > first.map_bytes {
            broken.push(format!("the maps grew by {} bytes", last.map_bytes - first.map_bytes));
        }
    }
    Outcome { moments, connections, broken }
}

/// One connection: asks once, reads the answer, ends by a way that depends on its number.
fn connect(addr: SocketAddr, index: u64) -> Result<()> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let in_order = index.is_multiple_of(IN_ORDER);
    let by_server = !in_order && index.is_multiple_of(BY_SERVER);
    let ending = if by_server { "Connection: close\r\n" } else { "" };
    // So few that what the probe keeps by key has its size by the first tenth.
    let key = index % 200;
    // In one piece, as the server wants it.
    stream.write_all(format!("GET /data/user-{key} HTTP/1.1\r\nHost: shard\r\n{ending}\r\n").as_bytes())?;
    let mut buffer = [0; 256];
    // An answer is one segment.
    if stream.read(&mut buffer)? == 0 {
        bail!("no answer");
    }
    if in_order {
        stream.shutdown(std::net::Shutdown::Write)?;
    }
    if in_order || by_server {
        while stream.read(&mut buffer)? > 0 {}
    }
    if !in_order {
        tcp_info::reset_on_close(&stream);
    }
    Ok(())
}

fn serve(tally: &Arc<Tally>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    for _ in 0..SERVERS {
        let (listener, tally) = (listener.try_clone()?, Arc::clone(tally));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut own = false;
                // An error is the client's reset, which is what most of them do.
                drop(answer(&stream, &tally, &mut own));
                drop(stream);
                if own {
                    tally.own_ended.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
    }
    Ok(addr)
}

/// Answers requests, each of which is one segment, until the client ends or wants an end.
fn answer(mut stream: &TcpStream, tally: &Tally, own: &mut bool) -> std::io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let length = stream.read(&mut buffer)?;
        let request = String::from_utf8_lossy(&buffer[..length]);
        if request.is_empty() {
            return Ok(());
        }
        let stats = request.starts_with("GET /stats");
        if stats && !*own {
            *own = true;
            tally.own.fetch_add(1, Ordering::SeqCst);
        }
        let body = if stats {
            let started_at = tally.started_at;
            let requests_received = tally.ended.load(Ordering::SeqCst);
            let body = serde_json::json!({
                "shard_id": 0, "total_keys": 0, "total_accesses": 0, "requests_received": requests_received,
                "started_at": started_at, "active_requests": CLIENTS, "requests_served": 0, "requests_rejected": 0,
                "requests_shed": 0, "top_keys": [], "hot_keys": [],
                "verdict": {"state": "balanced", "requests": 0, "window_seconds": 0.0, "sentence": ""},
            });
            body.to_string()
        } else {
            String::new()
        };
        let length = body.len();
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())?;
        if request.contains("Connection: close") {
            return Ok(());
        }
    }
}
