//! Runs the real programs on single packets with `BPF_PROG_TEST_RUN`.
//!
//! Nothing is attached and no traffic is needed. The kernel measures the time once around all repetitions of a call.
//! All repetitions of one call share one socket, so a request is new only once. Requests are therefore measured with
//! one call each, each on a new socket. Their time includes the clock and a cold cache.

use anyhow::{Context, Result, bail};
use aya::Ebpf;
use aya::programs::{CgroupSkb, TestRun, TestRunOptions};
use aya::sys::{Stats, enable_stats};
use probe::kernel::object;
use probe::kernel::object::Switches;
use probe::kernel::ports::PortsMap;
use probe_common::endpoint::{Endpoint, Listener};
use serde::Serialize;

use super::empty::Empty;
use crate::statistics::Quartiles;

/// Address and port of the only shard.
const SHARD: ([u8; 4], u16) = ([10, 1, 2, 3], 9_000);
const CLIENT: ([u8; 4], u16) = ([10, 9, 9, 9], 40_000);
const ELSEWHERE: ([u8; 4], u16) = ([10, 1, 2, 3], 443);

/// Repetitions of one call, and number of calls, for packets that may repeat.
const REPEATED: (u32, usize) = (200_000, 9);

/// Repetitions of one call, and number of calls, for packets that may not repeat.
const ALONE: (u32, usize) = (1, 2_000);

/// Requests in the long segment after the first one.
const FURTHER: u16 = 20;

/// Length of a shard's response, in bytes.
const ANSWER: usize = 250;

/// The cost of one packet in one program.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// The program.
    pub(crate) program: &'static str,
    /// The packet.
    pub(crate) packet: &'static str,
    /// Repetitions in one measurement.
    pub(crate) repetitions: u32,
    /// Nanoseconds of a run, over all measurements.
    pub nanoseconds: Quartiles,
    /// The same with the kernel's statistics of programs enabled.
    pub(crate) with_statistics: Option<Quartiles>,
}

/// Results of all single packets.
#[derive(Clone, Debug, Serialize)]
pub struct Packets {
    /// One row for each program and packet.
    pub costs: Vec<Cost>,
    /// Whether another process had enabled the statistics, so that no row is without them.
    pub(crate) never_without_statistics: bool,
}

impl Packets {
    /// Returns the cost of each further request in one segment for `program`, in nanoseconds: a difference of two
    /// medians.
    pub(crate) fn further_request(&self, program: &str) -> Option<f64> {
        let median = |packet| {
            let cost = self.costs.iter().find(|cost| cost.program == program && cost.packet == packet);
            cost.map(|cost| cost.nanoseconds.median)
        };
        Some((median(LONG)? - median(FIRST)?) / f64::from(FURTHER))
    }
}

impl Packets {
    /// Returns what the kernel's statistics add to each run, in nanoseconds. It is a difference of two medians over
    /// packets to other ports. `None` if the statistics could not be switched.
    pub(crate) fn statistics(&self) -> Option<f64> {
        let cost = self.costs.iter().find(|cost| cost.packet == ELSEWHERE_PACKET)?;
        let with = cost.with_statistics.filter(|_| !self.never_without_statistics)?;
        Some(with.median - cost.nanoseconds.median)
    }
}

const ELSEWHERE_PACKET: &str = "to another port";
const FIRST: &str = "first request of a connection";
const LONG: &str = "first 21 requests of a connection, in one segment";

/// Runs every program on its typical packets.
pub(crate) fn measure() -> Result<Packets> {
    let mut ebpf = object::load(object::embedded()?, Switches::default())?;
    let mut shards: aya::maps::HashMap<_, Endpoint, Listener> =
        ebpf.take_map("SHARDS").context("no map SHARDS")?.try_into()?;
    let shard = Endpoint::v4(SHARD.0, SHARD.1);
    // Kept until the programs are loaded, because a map without a descriptor is closed.
    let mut ports = PortsMap::new(ebpf.take_map(PortsMap::NAME).context("no map PORTS")?)?;
    ports.set([&shard].into_iter())?;
    shards.insert(shard, Listener::anywhere(0), 0)?;
    let long: Vec<u8> = (0..=FURTHER).flat_map(request).collect();
    let table = [
        ("ingress", ELSEWHERE_PACKET, packet(CLIENT, ELSEWHERE, b""), REPEATED),
        ("ingress", "bare acknowledgement to a shard", packet(CLIENT, SHARD, b""), REPEATED),
        ("ingress", FIRST, packet(CLIENT, SHARD, &request(0)), ALONE),
        ("ingress", LONG, packet(CLIENT, SHARD, &long), ALONE),
        ("egress", "from another port", packet(ELSEWHERE, CLIENT, b""), REPEATED),
        ("egress", "bare acknowledgement from a shard", packet(SHARD, CLIENT, b""), REPEATED),
        ("egress", "answer, no request on its socket", packet(SHARD, CLIENT, &[b'x'; ANSWER]), REPEATED),
    ];
    for name in ["ingress", "egress"] {
        program(&mut ebpf, name)?.load().with_context(|| format!("loading {name}"))?;
    }
    let mut costs = vec![empty(&packet(CLIENT, SHARD, b""))?];
    for (name, what, packet, how) in &table {
        let nanoseconds = spread(program(&mut ebpf, name)?, packet, *how)?;
        costs.push(Cost {
            program: name,
            packet: what,
            repetitions: how.0,
            nanoseconds,
            with_statistics: None,
        });
    }
    let mut never_without_statistics = false;
    for name in ["ingress", "egress"] {
        never_without_statistics |= program(&mut ebpf, name)?.info()?.run_count() > 0;
    }
    // The statistics stay enabled until this value is dropped. Without the privilege the column stays empty.
    if let Ok(_statistics) = enable_stats(Stats::RunTime) {
        for (cost, (name, _, packet, how)) in costs.iter_mut().skip(1).zip(&table) {
            cost.with_statistics = Some(spread(program(&mut ebpf, name)?, packet, *how)?);
        }
    }
    Ok(Packets { costs, never_without_statistics })
}

/// Measures the part of every result that is the kernel's loop around the program.
fn empty(packet: &[u8]) -> Result<Cost> {
    let program = Empty::load()?;
    let (repetitions, calls) = REPEATED;
    let all = (0..calls).map(|_| program.run(packet, repetitions).map(f64::from));
    let nanoseconds = Quartiles::of(all.collect::<Result<Vec<_>>>()?).context("no measurement")?;
    Ok(Cost { program: "(empty)", packet: "any", repetitions, nanoseconds, with_statistics: None })
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut CgroupSkb> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

#[expect(clippy::cast_precision_loss, reason = "a run takes far fewer than 2^53 nanoseconds")]
fn spread(program: &CgroupSkb, packet: &[u8], (repeat, calls): (u32, usize)) -> Result<Quartiles> {
    let mut all = Vec::with_capacity(calls);
    // The first call warms up.
    for call in 0..=calls {
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::default() };
        let result = program.test_run(options)?;
        if result.return_value != 1 {
            bail!("a packet was dropped");
        }
        if call > 0 {
            all.push(result.duration.as_nanos() as f64);
        }
    }
    Quartiles::of(all).context("no measurement")
}

/// Returns a request in the load generator's format.
fn request(user: u16) -> Vec<u8> {
    format!("GET /data/user-{user} HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n").into_bytes()
}

/// Returns an IPv4 packet with the Ethernet header that the kernel expects and removes.
fn packet(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 12];
    packet.extend([8, 0, 0x45, 0]);
    packet.extend((40 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    packet.extend(from.0);
    packet.extend(to.0);
    packet.extend(from.1.to_be_bytes());
    packet.extend(to.1.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(payload);
    packet
}
