//! A million connections opened and closed: do the probe's counts stay exact, and do it and its maps stay as large as they
//! were?

use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::accuracy::client::{Client, get, get_and_close};
use crate::accuracy::probe::{Counted, Probe, Stage};
use crate::accuracy::server::Server;

/// Connections at once.
const CLIENTS: u64 = 4;

/// Every 50th connection ends in order by its client, and leaves a port in TIME_WAIT: few enough for any run.
const IN_ORDER: u64 = 50;

/// Every fourth of the others is ended by the server.
const BY_SERVER: u64 = 4;

/// How much the probe may grow after the second tenth. Until then it sets up what it needs once, such as windows of ten
/// seconds.
const GROWTH: u64 = 2 << 20;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The probe at one moment. Its own connections are not counted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Moment {
    /// Seconds since the start.
    pub seconds: f64,
    /// Connections that the clients have ended.
    pub ended: u64,
    /// Connections opened, by the probe's count.
    pub opened: u64,
    /// Connections closed, by the probe's count.
    pub closed: u64,
    /// Connections open, by the probe's count.
    pub open: u64,
    /// Resident memory of the probe.
    pub resident_bytes: u64,
    /// Kernel memory of its maps.
    pub map_bytes: u64,
}

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub struct ChurnReport {
    /// Nine moments, and the last.
    pub moments: Vec<Moment>,
    /// Connections of the run.
    pub connections: u64,
    /// What does not hold; empty if everything does.
    pub broken: Vec<String>,
}

/// Opens and closes `connections`; `progress` gets the probe's state after each tenth.
///
/// # Errors
/// When the probe cannot be started, or a connection fails.
pub fn run(probe: &Path, connections: u64, progress: impl Fn(&Moment)) -> Result<ChurnReport> {
    let server = Server::on_loopback()?;
    let stage = Stage::new(probe)?;
    let probe = stage.start_probe(&[&server]);
    let (start, ended) = (Instant::now(), AtomicU64::new(0));
    let look = || look(&probe, &server, ended.load(Ordering::SeqCst), start);
    let mut moments = Vec::new();
    std::thread::scope(|scope| -> Result<()> {
        let (addr, ended) = (server.addr, &ended);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || come_and_go(addr, client, connections, ended)))
            .collect();
        for tenth in 1..10 {
            let wanted = connections * tenth / 10;
            while ended.load(Ordering::SeqCst) < wanted {
                if clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                    break;
                }
                // Nothing to wait on but the count itself.
                stage.pause();
            }
            let moment = look()?;
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
    let last = stage.until(TIMEOUT, || {
        let now = look().map_err(|error| error.to_string())?;
        if (now.opened, now.closed) == (connections, connections) { Ok(now) } else { Err(format!("{now:?}")) }
    });
    let last = last.or_else(|_| look())?;
    progress(&last);
    moments.push(last);
    probe.stop();
    Ok(judge(moments, connections))
}

/// Every [`CLIENTS`]th connection, beginning with number `first`.
fn come_and_go(addr: SocketAddr, first: u64, connections: u64, ended: &AtomicU64) -> Result<()> {
    for index in (first..connections).step_by(CLIENTS as usize) {
        connect(addr, index)?;
        ended.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// Reads the probe without the probe's own connections, which come and go at any time.
fn look(probe: &Probe<'_>, server: &Server, ended: u64, start: Instant) -> Result<Moment> {
    let own = server.control_connections();
    let all = probe.counted()?;
    let Some(Counted { opened, closed, open, .. }) = all.first() else { bail!("the probe knows no shard") };
    Ok(Moment {
        seconds: start.elapsed().as_secs_f64(),
        ended,
        opened: opened.saturating_sub(own.opened),
        closed: closed.saturating_sub(own.closed),
        open: open.saturating_sub(own.opened - own.closed),
        resident_bytes: probe.resident_bytes(),
        map_bytes: probe.map_bytes()?,
    })
}

fn judge(moments: Vec<Moment>, connections: u64) -> ChurnReport {
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
    ChurnReport { moments, connections, broken }
}

/// One connection: one request, its answer, and an end that depends on the connection's number.
fn connect(addr: SocketAddr, index: u64) -> Result<()> {
    let mut client = Client::connect(addr)?;
    let in_order = index.is_multiple_of(IN_ORDER);
    let by_server = !in_order && index.is_multiple_of(BY_SERVER);
    // So few keys that the probe's state by key has its size by the first tenth.
    let key = format!("user-{}", index % 200);
    client.ask(&if by_server { get_and_close(&key) } else { get(&key) })?;
    if in_order {
        client.shut_down()?;
    }
    if in_order || by_server {
        client.closed()?;
    }
    if !in_order {
        client.reset()?;
    }
    Ok(())
}
