//! What a proxied request costs the gateway as shards, keys and connections grow, and what a probe takes beside it.

use anyhow::{Context as _, Result, ensure};
use std::net::TcpStream;

use super::Options;
use super::client;
use super::draws::Script;
use super::figures::Slice;
use super::growth_point::{ACTIVE, Axis, KEYS, Point};
use super::growth_probe::{self, ProbePoint};
use super::growth_report::GrowthReport;
use super::origin::Origin;
use super::row::{Keys, Row};
use super::server::Server;
use super::side::TrafficPath;
use super::slice;
use super::versions;
use crate::machine::load_average;

/// Measures all points in each round, in random order. It calls `progress` with a line for each point.
///
/// # Errors
/// When a process cannot be started, or a request fails.
pub fn growth(options: &Options, progress: impl Fn(&str)) -> Result<GrowthReport> {
    let before = load_average();
    let folder = tempfile::Builder::new().prefix("gateway-bench-").tempdir()?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    super::name_left_out(Axis::ALL.into_iter().flat_map(Axis::sides), &progress);
    let mut points = Point::all();
    let mut probes = growth_probe::SIZES.map(|shards| ProbePoint { shards, samples: Vec::new() });
    for round in 1..=options.pairs {
        let mut order: Vec<usize> = (0..points.len()).collect();
        random.shuffle(&mut order);
        for at in order {
            let point = points.get_mut(at).context("a point")?;
            let Point { axis, side, size, .. } = point;
            let what = format!("{}, {size} {}, round {round} of {}", side.name(), axis.name(), options.pairs);
            let script = Script::of_keys(Keys::Uniform(point.keys()), folder.path(), options.seed)?;
            let slice = measure(point, options, &script, &mut random).with_context(|| what.clone())?;
            progress(&format!("{what}: {:.0}/s {:.1} µs", slice.per_second, slice.cpu));
            point.slices.push(slice);
        }
        let script = Script::of_keys(Keys::Uniform(KEYS), folder.path(), options.seed)?;
        for point in &mut probes {
            let what = format!("probe of {} shards, round {round} of {}", point.shards, options.pairs);
            let sample = growth_probe::measure(point.shards, options, &script, &mut random)
                .with_context(|| what.clone())?;
            progress(&format!("{what}: {:.0} µs/s", sample.cpu));
            point.samples.push(sample);
        }
    }
    Ok(GrowthReport {
        options: options.clone(),
        points,
        probes: probes.into(),
        versions: versions::all(),
        load_average: [before, load_average()],
    })
}

fn measure(point: &Point, options: &Options, script: &Script, random: &mut fastrand::Rng) -> Result<Slice> {
    let origin = Origin::start(&options.programs, point.shards())?;
    let server = Server::start(point.side, TrafficPath::Proxied, &origin.addresses, &options.programs)?;
    // The first read of a key creates its value.
    let keys = point.keys();
    client::in_turn(server.address, ACTIVE, keys + options.warm_up, keys, |key| Row::Base.request(key))?;
    let idle = point.connections() - ACTIVE;
    let idle = (0..idle).map(|_| client::idle_connection(server.address, &Row::Base.request(0)));
    let idle = idle.collect::<Result<Vec<_>>>()?;
    let (script, arguments) = script.slice(random);
    let script = Some((script, &arguments[..]));
    let slice = slice::run(&origin, &server, ACTIVE, options.slice_seconds, script)?;
    ensure!(slice.hits == 0.0, "not every request reached a shard");
    let open = idle.iter().filter(|stream| is_open(stream)).count();
    ensure!(open == idle.len(), "{} idle connections were closed", idle.len() - open);
    Ok(slice)
}

/// Whether the server has not closed a connection without a request in flight.
fn is_open(stream: &TcpStream) -> bool {
    let would_block = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
    stream.set_nonblocking(true).is_ok() && stream.peek(&mut [0]).is_err_and(would_block)
}
