//! Checks counts and memory of the probe over a million connections.
//!
//! The counts must stay exact. The probe and its maps must not grow.

use anyhow::{Context, Result};
use protocol::probe_api::ConnectionCounts;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::accuracy::client::{Client, get, get_and_close};
use crate::accuracy::probe::{Probe, Stage};
use crate::accuracy::server::Server;

/// Number of concurrent connections.
const CLIENTS: u64 = 4;

/// One connection in this many is closed in order by its client and leaves a port in TIME_WAIT. Even a long run does
/// not exhaust the ports.
const IN_ORDER: u64 = 50;

/// The server closes one in this many of the other connections.
const BY_SERVER: u64 = 4;

/// How much the probe may grow after the second tenth, in bytes. Until then it allocates what it needs once, such as
/// windows of ten seconds.
const GROWTH: u64 = 2 << 20;

const TIMEOUT: Duration = Duration::from_secs(30);

/// The probe's state at one moment, without its own connections.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Moment {
    /// Seconds since the start.
    pub seconds: f64,
    /// Connections that the clients have closed.
    pub ended: u64,
    /// Opened connections, by the probe's count.
    pub opened: u64,
    /// Closed connections, by the probe's count.
    pub closed: u64,
    /// Open connections, by the probe's count.
    pub open: u64,
    /// Resident memory of the probe, in bytes.
    pub resident_bytes: u64,
    /// Kernel memory of its maps, in bytes.
    pub map_bytes: u64,
}

/// Results of the whole run.
#[derive(Clone, Debug, Serialize)]
pub struct ChurnReport {
    /// Nine intermediate moments and the final one.
    pub moments: Vec<Moment>,
    /// Number of connections in the run.
    pub connections: u64,
    /// Failed requirements. Empty if all are met.
    pub broken: Vec<String>,
}

/// Opens and closes `connections`. It calls `progress` with the probe's state after each tenth.
///
/// # Errors
/// If the probe cannot be started, or a connection fails.
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
                // Polling, because no event signals the count.
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
    // The kernel ends the last connections after their clients have closed them.
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

/// Opens and closes every [`CLIENTS`]th connection, from number `first` on.
fn come_and_go(addr: SocketAddr, first: u64, connections: u64, ended: &AtomicU64) -> Result<()> {
    for index in (first..connections).step_by(CLIENTS as usize) {
        connect(addr, index)?;
        ended.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

/// Reads the probe's counts and subtracts its own connections, which open and close at any time.
fn look(probe: &Probe<'_>, server: &Server, ended: u64, start: Instant) -> Result<Moment> {
    let own = server.control_connections();
    let all = probe.counted()?;
    let connections = all.first().and_then(|shard| shard.connections);
    let ConnectionCounts { opened, closed, open, .. } =
        connections.context("the probe reports no connections")?;
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

/// Makes one connection with one request and its response. The connection's number decides how it ends.
fn connect(addr: SocketAddr, index: u64) -> Result<()> {
    let mut client = Client::connect(addr)?;
    let in_order = index.is_multiple_of(IN_ORDER);
    let by_server = !in_order && index.is_multiple_of(BY_SERVER);
    // So few keys that the probe's state by key reaches its full size within the first tenth.
    let key = format!("user-{}", index % 200);
    client.exchange(&if by_server { get_and_close(&key) } else { get(&key) })?;
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
