//! Measures the gateway beside nginx, HAProxy and Varnish.
//!
//! All servers stand in front of the same shards and receive the same load in turn. A round has one slice of each
//! server, in random order, because the machine's speed changes from second to second. Every round has servers of its
//! own, because two equal processes may differ by some percent for their whole life. Ratios are those of one round.

mod answer;
pub(crate) mod client;
mod draws;
mod figures;
mod goals;
mod group;
mod growth;
mod growth_point;
mod growth_probe;
mod growth_report;
mod instructions;
mod memory_folder;
mod origin;
mod report;
mod row;
pub(crate) mod server;
mod side;
mod slice;
pub(crate) mod versions;
mod wrk;

pub use figures::Ratio;
pub use growth::growth;
pub use growth_report::GrowthReport;
pub use instructions::instructions;
pub use report::Report;
pub use row::Row;
pub use side::{Peers, Side, TrafficPath};

use anyhow::{Context as _, Result, ensure};
use lab::signals;
use load::schedule::Schedule;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tempfile::TempDir;

use self::answer::Answer;
use self::draws::Script;
use self::figures::{LatencyPair, Measured, Percentiles, RowFigures, Slice};
use self::origin::{Origin, SHARDS};
use self::server::Server;
use crate::machine::load_average;

/// The rate of the open loop, as a share of the slower server's throughput.
const OPEN_LOOP_SHARE: f64 = 0.8;

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of `gateway` and `shard`.
    pub programs: PathBuf,
    /// What the gateway is compared with.
    pub peers: Peers,
    /// The rows.
    pub rows: Vec<Row>,
    /// Rounds of each row.
    pub pairs: u32,
    /// Seconds of a slice at full load.
    pub slice_seconds: u32,
    /// Seconds of an open-loop slice.
    pub open_loop_seconds: f64,
    /// Requests to a server before its first slice.
    pub warm_up: u32,
    /// Seed of keys and order.
    pub seed: u64,
}

impl Options {
    /// Returns the cargo profile of the gateway: the name of its folder.
    fn profile(&self) -> String {
        self.programs.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Tells which servers cannot run here.
fn name_left_out(sides: impl Iterator<Item = &'static Side>, progress: impl Fn(&str)) {
    for side in sides.filter(|side| !side.is_installed()).collect::<BTreeSet<_>>() {
        progress(&format!("{} is not installed and is left out", side.name()));
    }
}

/// Measures all rows. It calls `progress` with a line for each step.
///
/// # Errors
/// When a server cannot be started, or a request fails.
pub fn run(options: &Options, progress: impl Fn(&str)) -> Result<Report> {
    name_left_out(TrafficPath::ALL.into_iter().flat_map(|path| path.sides(options.peers)), &progress);
    for row in &options.rows {
        row.ensure_memory()?;
    }
    let before = load_average();
    let bench = Bench {
        options,
        origin: Origin::start(&options.programs, SHARDS)?,
        folder: tempfile::Builder::new().prefix("gateway-bench-").tempdir()?,
        progress: &progress,
    };
    let mut random = fastrand::Rng::with_seed(options.seed);
    let (mut figures, mut cpu_source) = (Vec::new(), "");
    for row in &options.rows {
        if row.keys().count() > 1 {
            progress(&format!("{}: writing its keys to the shards", row.name()));
        }
        bench.origin.fill(*row)?;
        let script = Script::of(*row, bench.folder.path(), options.seed)?;
        for path in row.paths() {
            let work = RowWork { bench: &bench, row: *row, path: *path, script: script.as_ref() };
            let (measured, source) = work.measure(&mut random)?;
            figures.push(measured);
            cpu_source = source;
        }
    }
    Ok(Report {
        options: options.clone(),
        figures,
        cpu_source,
        versions: versions::all(),
        load_average: [before, load_average()],
    })
}

/// What all rows share.
struct Bench<'a> {
    options: &'a Options,
    origin: Origin,
    folder: TempDir,
    progress: &'a dyn Fn(&str),
}

/// One row on one path.
struct RowWork<'a> {
    bench: &'a Bench<'a>,
    row: Row,
    path: TrafficPath,
    script: Option<&'a Script>,
}

impl RowWork<'_> {
    fn measure(&self, random: &mut fastrand::Rng) -> Result<(RowFigures, &'static str)> {
        let options = self.bench.options;
        let mut servers = self.start()?;
        let sides = servers.iter().map(|server| {
            anyhow::Ok(Measured { side: server.side, answer: self.check(server)?, slices: Vec::new() })
        });
        let mut figures = RowFigures {
            row: self.row,
            path: self.path,
            sides: sides.collect::<Result<_>>()?,
            latencies: Vec::new(),
        };
        for round in 1..=options.pairs {
            if round > 1 && self.row.restarts() {
                servers.clear();
                servers = self.start()?;
            }
            let slices = self.round(&servers, random)?;
            for (side, slice) in figures.sides.iter_mut().zip(&slices) {
                side.slices.push(*slice);
            }
            let cells = servers.iter().zip(&slices).map(|(server, slice)| {
                format!("{} {:.0}/s {:.1} µs", server.side.name(), slice.per_second, slice.cpu)
            });
            (self.bench.progress)(&format!(
                "{} {}, round {round} of {}: {}",
                self.row.name(),
                self.path.name(),
                options.pairs,
                cells.collect::<Vec<_>>().join(", ")
            ));
            if self.row.has_latencies() {
                figures.latencies.extend(self.latencies(&servers, &slices, random)?);
            }
        }
        let source = servers.first().context("no server")?.cpu_source();
        Ok((figures, source))
    }

    /// Starts all servers and fills their caches.
    fn start(&self) -> Result<Vec<Server>> {
        let sides = self.path.sides(self.bench.options.peers).iter().filter(|side| side.is_installed());
        let servers = sides.map(|side| {
            let origin = &self.bench.origin;
            Server::start(*side, self.path, &origin.addresses, &self.bench.options.programs)
        });
        let servers = servers.collect::<Result<Vec<_>>>()?;
        for server in &servers {
            self.warm_up(server).with_context(|| format!("while {} warmed up", server.side.name()))?;
        }
        Ok(servers)
    }

    fn warm_up(&self, server: &Server) -> Result<()> {
        let keys = self.row.keys().count();
        let requests = match self.path {
            TrafficPath::Proxied => self.bench.options.warm_up,
            // Once more than all keys: each one is then in the cache.
            TrafficPath::Cached => keys + self.bench.options.warm_up,
        };
        let connections = self.row.connections().min(64);
        client::in_turn(server.address, connections, requests, keys, |key| self.row.request(key))
    }

    /// Checks that a server returns the whole value, and returns the sizes of its answer.
    fn check(&self, server: &Server) -> Result<Answer> {
        let name = server.side.name();
        let (answer, bytes) = client::exchange(server.address, &self.row.request(0))?;
        ensure!(answer.status == 200, "{name} answers with status {}", answer.status);
        let body = bytes.get(answer.head..).unwrap_or_default();
        let json: serde_json::Value =
            serde_json::from_slice(body).with_context(|| format!("an answer of {name}"))?;
        ensure!(json["key"] == row::key(0), "{name} answers for another key: {}", json["key"]);
        if !self.row.writes() {
            let value = row::value(self.row.value_bytes());
            ensure!(
                json["value"] == serde_json::from_str::<serde_json::Value>(&value)?,
                "{name} returns another value"
            );
        }
        Ok(answer)
    }

    /// Runs one slice on each server, in random order. Returns the slices in order of the servers.
    fn round(&self, servers: &[Server], random: &mut fastrand::Rng) -> Result<Vec<Slice>> {
        let mut order: Vec<usize> = (0..servers.len()).collect();
        random.shuffle(&mut order);
        // A side's keys start at the same place, so that all read the same keys.
        let script = self.script.map(|script| script.slice(random));
        let mut slices = Vec::new();
        for at in order {
            let server = servers.get(at).context("a server")?;
            let slice = self.slice(server, script.as_ref().map(|(path, arguments)| (*path, &arguments[..])));
            let slice = slice.with_context(|| {
                format!("{} {}, {}", self.row.name(), self.path.name(), server.side.name())
            })?;
            slices.push((at, slice));
        }
        slices.sort_by_key(|(at, _)| *at);
        Ok(slices.into_iter().map(|(_, slice)| slice).collect())
    }

    fn slice(&self, server: &Server, script: Option<(&std::path::Path, &[String])>) -> Result<Slice> {
        let options = self.bench.options;
        let slice =
            slice::run(&self.bench.origin, server, self.row.connections(), options.slice_seconds, script)?;
        match self.path {
            TrafficPath::Proxied => ensure!(slice.hits == 0.0, "not every request reached a shard"),
            TrafficPath::Cached => ensure!(slice.hits > 0.5, "the cache had {:.2} of all keys", slice.hits),
        }
        Ok(slice)
    }

    /// Measures latencies of the gateway and each peer at the same rate.
    fn latencies(
        &self,
        servers: &[Server],
        slices: &[Slice],
        random: &mut fastrand::Rng,
    ) -> Result<Vec<LatencyPair>> {
        let (Some((ours, peers)), Some((our_slice, peer_slices))) =
            (servers.split_first(), slices.split_first())
        else {
            return Ok(Vec::new());
        };
        let mut pairs = Vec::new();
        for (peer, slice) in peers.iter().zip(peer_slices) {
            let rate = OPEN_LOOP_SHARE * our_slice.per_second.min(slice.per_second);
            let seed = random.u64(..);
            let of = |server: &Server| self.open_loop(server, rate, seed);
            let (ours, theirs) = if random.bool() {
                let theirs = of(peer)?;
                (of(ours)?, theirs)
            } else {
                (of(ours)?, of(peer)?)
            };
            pairs.push(LatencyPair { peer: peer.side, rate, ours, theirs });
        }
        Ok(pairs)
    }

    fn open_loop(&self, server: &Server, rate: f64, seed: u64) -> Result<Percentiles> {
        signals::check()?;
        let bytes = self.row.request(0);
        let dues = Schedule::new(rate, self.bench.options.open_loop_seconds).dues(seed);
        let request = |_, out: &mut Vec<u8>| out.extend_from_slice(&bytes);
        let answered = client::run(server.address, self.row.connections() as usize, dues, request)?;
        Percentiles::of(answered).context("no latencies")
    }
}
