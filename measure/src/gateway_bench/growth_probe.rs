//! What a probe takes as its shards grow, while the gateway in front of them is under full load.

use anyhow::{Result, ensure};
use lab::http::Client;
use lab::process::{Log, Process};
use lab::signals;
use std::time::{Duration, Instant};

use super::Options;
use super::client;
use super::draws::Script;
use super::group::Group;
use super::growth_point::{ACTIVE, KEYS};
use super::origin::Origin;
use super::row::Row;
use super::server::{Server, program, started};
use super::side::{Side, TrafficPath};
use super::slice;
use crate::held::Held;

/// Numbers of shards. A probe watches at most 64.
pub(super) const SIZES: [u32; 3] = [4, 16, 64];

/// Time in which the probe reads the last counts.
const SETTLE: Duration = Duration::from_secs(2);

/// The samples of one number of shards.
#[derive(Clone, Debug)]
pub(super) struct ProbePoint {
    pub(super) shards: u32,
    /// One element a round.
    pub(super) samples: Vec<ProbeSample>,
}

/// What the probe took in a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbeSample {
    /// Requests a second through the gateway.
    pub(super) per_second: f64,
    /// CPU microseconds of its process a second.
    pub(super) cpu: f64,
    /// Proportional set size in MiB.
    pub(super) memory: f64,
    /// MiB of its kernel maps.
    pub(super) maps: f64,
}

/// Measures one slice with so many shards.
///
/// # Errors
/// When a process cannot be started, a request fails, or the probe has not counted exactly what the shards received.
pub(super) fn measure(
    shards: u32,
    options: &Options,
    script: &Script,
    random: &mut fastrand::Rng,
) -> Result<ProbeSample> {
    let origin = Origin::start(&options.programs, shards)?;
    let group = Group::new("probe");
    let urls: Vec<String> = origin.addresses.iter().map(|address| format!("http://{address}")).collect();
    let mut command = program(&options.programs.join("probe"));
    command.arg("run").env("PORT", "0").env("SHARD_URLS", urls.join(","));
    group.enter(&mut command)?;
    let mut probe = Process::start("probe", command, Log::unnamed()?)?;
    let address = started(&mut probe, Process::reported_address)?;
    let server = Server::start(Side::Gateway, TrafficPath::Proxied, &origin.addresses, &options.programs)?;
    client::in_turn(server.address, ACTIVE, KEYS + options.warm_up, KEYS, |key| Row::Base.request(key))?;
    let (script, arguments) = script.slice(random);
    let (begin, before) = (Instant::now(), group.cpu_microseconds(&probe));
    let script = Some((script, &arguments[..]));
    let slice = slice::run(&origin, &server, ACTIVE, options.slice_seconds, script)?;
    let cpu = (group.cpu_microseconds(&probe) - before) / begin.elapsed().as_secs_f64();
    signals::pause(SETTLE);
    let (received, counted) = (origin.received()?, counted(&format!("http://{address}/metrics"))?);
    ensure!(
        counted == received,
        "the probe of {shards} shards has counted {counted} of {received} requests; {}",
        probe.last_words()
    );
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (memory, maps) = (mebibytes(group.memory(&probe)), mebibytes(Held::by(probe.pid())?.map_bytes));
    Ok(ProbeSample { per_second: slice.per_second, cpu, memory, maps })
}

/// The data requests that the kernel has counted, by the probe's metrics.
fn counted(url: &str) -> Result<u64> {
    let text = Client::default().text(url)?;
    let data = text.lines().filter(|line| {
        line.starts_with("kernel_shard_requests_total{")
            && ["get", "set"].iter().any(|operation| line.contains(&format!("operation=\"{operation}\"")))
    });
    Ok(data.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
}
