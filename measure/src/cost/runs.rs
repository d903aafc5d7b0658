//! The kernel's statistics of the programs over a known number of requests.

use anyhow::{Context, Result, bail};
use lab_tests::process::Signal;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::testbed::{Testbed, TrafficPath};

/// The programs' cost under load.
#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    /// The path of the requests.
    #[serde(rename = "way")]
    pub(crate) path: TrafficPath,
    /// One row per program.
    pub(crate) programs: Vec<Program>,
    /// Requests sent, which the probe has all counted.
    pub(crate) requests: u64,
    /// Packets to the shards.
    pub(crate) packets_to_shard: u64,
    /// Packets from the shards.
    pub(crate) packets_from_shard: u64,
    /// Connections that were opened.
    pub(crate) connections: u64,
}

/// The cost of one program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Program {
    /// Its name.
    pub(crate) program: String,
    /// Number of runs, for all packets and events of the machine.
    pub(crate) runs: u64,
    /// Total nanoseconds, including the cost of reading the clock.
    pub(crate) nanoseconds: f64,
}

impl Program {
    /// Returns the nanoseconds per run.
    #[expect(clippy::cast_precision_loss, reason = "the value is far below 2^53")]
    pub(crate) fn per_run(&self) -> f64 {
        self.nanoseconds / self.runs.max(1) as f64
    }
}

impl Runs {
    /// Divides a number by the requests.
    #[expect(clippy::cast_precision_loss, reason = "the value is far below 2^53")]
    pub(crate) fn per_request(&self, number: f64) -> f64 {
        number / self.requests as f64
    }

    /// Returns the runs of all programs per request.
    #[expect(clippy::cast_precision_loss, reason = "the value is far below 2^53")]
    pub(crate) fn runs_a_request(&self) -> f64 {
        self.per_request(self.programs.iter().map(|program| program.runs as f64).sum())
    }

    /// Returns the nanoseconds of all programs per request.
    pub fn nanoseconds_a_request(&self) -> f64 {
        self.per_request(self.programs.iter().map(|program| program.nanoseconds).sum())
    }
}

/// Sends the requests under a probe that has the kernel's statistics enabled.
pub(crate) fn measure(testbed: &Testbed, path: TrafficPath, requests: u64) -> Result<Runs> {
    let (mut probe, addr) = testbed.start_probe(&[("PROGRAM_STATS", "on")])?;
    let before = look(testbed, addr)?;
    testbed.saturate(path, requests, None, 1)?;
    let after = look(testbed, addr)?;
    testbed.end(&mut probe, Signal::TERM);
    let grown = |name: &str| {
        let count = |look: &Look| {
            let counts = look.shards.iter().map(|shard| shard.pointer(name).and_then(Value::as_u64));
            counts.sum::<Option<u64>>()
        };
        anyhow::Ok(count(&after).context("a counter")?.saturating_sub(count(&before).context("a counter")?))
    };
    let counted = grown("/requests/get")?;
    if counted != requests {
        bail!("{requests} requests were sent, and the probe has counted {counted}");
    }
    let mut programs = Vec::new();
    for (program, (runs, seconds)) in &after.runs {
        let (runs_before, seconds_before) = before.runs.get(program).copied().unwrap_or_default();
        let nanoseconds = (seconds - seconds_before) * 1e9;
        programs.push(Program { program: program.clone(), runs: runs - runs_before, nanoseconds });
    }
    Ok(Runs {
        path,
        programs,
        requests,
        packets_to_shard: grown("/packets/receive")?,
        packets_from_shard: grown("/packets/transmit")?,
        connections: grown("/connections/opened")?,
    })
}

/// The probe's report at one moment.
struct Look {
    /// Number of runs and their seconds, by program.
    runs: BTreeMap<String, (u64, f64)>,
    shards: Vec<Value>,
}

fn look(testbed: &Testbed, addr: SocketAddr) -> Result<Look> {
    let status = testbed.json(addr, "/status")?;
    let Some(runs) = status.pointer("/itself/runs").and_then(Value::as_array) else {
        bail!("the kernel does not count the programs' runs: {}", status["features"]);
    };
    let runs = runs.iter().filter_map(|row| {
        Some((row["program"].as_str()?.to_owned(), (row["runs"].as_u64()?, row["run_seconds"].as_f64()?)))
    });
    let runs = runs.collect();
    let shards = testbed.json(addr, "/api/shards")?["shards"].as_array().cloned().unwrap_or_default();
    Ok(Look { runs, shards })
}
