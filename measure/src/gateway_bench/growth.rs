//! What a proxied request costs the gateway as shards, keys and connections grow.

use anyhow::{Context as _, Result, ensure};
use lab::signals;
use std::net::TcpStream;
use std::time::Duration;

use super::Options;
use super::client;
use super::draws::Script;
use super::figures::Slice;
use super::growth_report::GrowthReport;
use super::origin::{Origin, SHARDS};
use super::row::{Keys, Row};
use super::server::Server;
use super::side::{Side, TrafficPath};
use super::slice;
use super::versions;
use crate::machine::load_average;

/// Connections with a request in flight, in every point.
pub(super) const ACTIVE: u32 = 64;

/// Keys in all points of the other axes.
pub(super) const KEYS: u32 = 20_000;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Shards,
    Keys,
    Connections,
}

impl Axis {
    pub(super) const ALL: [Self; 3] = [Self::Shards, Self::Keys, Self::Connections];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Shards => "shards",
            Self::Keys => "keys",
            Self::Connections => "connections",
        }
    }

    /// Returns the sizes. The first is the one that the others are compared with.
    const fn sizes(self) -> &'static [u32] {
        match self {
            Self::Shards => &[4, 64, 256],
            Self::Keys => &[1_000, 10_000, 100_000, 1_000_000],
            Self::Connections => &[64, 1_000, 10_000],
        }
    }
}

/// The slices of one size.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) axis: Axis,
    pub(super) size: u32,
    /// One element a round.
    pub(super) slices: Vec<Slice>,
}

/// Measures all points in each round, in random order. It calls `progress` with a line for each point.
///
/// # Errors
/// When a process cannot be started, or a request fails.
pub fn growth(options: &Options, progress: impl Fn(&str)) -> Result<GrowthReport> {
    let before = load_average();
    let folder = tempfile::Builder::new().prefix("gateway-bench-").tempdir()?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    let sizes = Axis::ALL.into_iter().flat_map(|axis| axis.sizes().iter().map(move |size| (axis, *size)));
    let mut points: Vec<Point> = sizes.map(|(axis, size)| Point { axis, size, slices: Vec::new() }).collect();
    for round in 1..=options.pairs {
        let mut order: Vec<usize> = (0..points.len()).collect();
        random.shuffle(&mut order);
        for at in order {
            let point = points.get_mut(at).context("a point")?;
            let what = format!("{} {}, round {round} of {}", point.size, point.axis.name(), options.pairs);
            let keys = if point.axis == Axis::Keys { point.size } else { KEYS };
            let script = Script::of_keys(Keys::Uniform(keys), folder.path(), options.seed)?;
            let slice = point.measure(options, &script, &mut random).with_context(|| what.clone())?;
            progress(&format!("{what}: {:.0}/s {:.1} µs", slice.per_second, slice.cpu));
            point.slices.push(slice);
        }
    }
    Ok(GrowthReport {
        options: options.clone(),
        points,
        versions: versions::all(),
        load_average: [before, load_average()],
    })
}

impl Point {
    fn size_on(&self, axis: Axis, otherwise: u32) -> u32 {
        if self.axis == axis { self.size } else { otherwise }
    }

    fn measure(&self, options: &Options, script: &Script, random: &mut fastrand::Rng) -> Result<Slice> {
        let shards = self.size_on(Axis::Shards, SHARDS);
        let origin = Origin::start(&options.programs, shards)?;
        let server =
            Server::start(Side::Gateway, TrafficPath::Proxied, &origin.addresses, &options.programs)?;
        // The first read of a key creates its value.
        let keys = self.size_on(Axis::Keys, KEYS);
        let dues = std::iter::repeat_n(Duration::ZERO, (keys + options.warm_up) as usize);
        let request = |number: u64, bytes: &mut Vec<u8>| {
            let key = u32::try_from(number % u64::from(keys)).unwrap_or_default();
            bytes.extend(Row::Base.request(key));
        };
        client::run(server.address, ACTIVE as usize, dues, request)?;
        signals::check()?;
        let idle = self.size_on(Axis::Connections, ACTIVE) - ACTIVE;
        let idle = (0..idle).map(|_| client::idle_connection(server.address, &Row::Base.request(0)));
        let mut idle = idle.collect::<Result<Vec<_>>>()?;
        let (script, arguments) = script.slice(random);
        let script = Some((script, &arguments[..]));
        let slice = slice::run(&origin, &server, ACTIVE, options.slice_seconds, script)?;
        ensure!(slice.hits == 0.0, "not every request reached a shard");
        let open = idle.iter_mut().filter(|stream| is_open(stream)).count();
        ensure!(open == idle.len(), "the gateway closed {} idle connections", idle.len() - open);
        Ok(slice)
    }
}

/// Whether the server has not closed a connection without a request in flight.
fn is_open(stream: &TcpStream) -> bool {
    let would_block = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    stream.set_nonblocking(true).is_ok() && stream.peek(&mut [0]).is_err_and(would_block)
}
