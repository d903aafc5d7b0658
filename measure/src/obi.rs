//! Measures the probe beside OpenTelemetry's eBPF instrumentation (OBI), which counts requests in the kernel too.
//!
//! Both watch the same shards. [`counts`] compares what they count of known traffic, and [`costs`] what they cost.
//! OBI needs kprobes. Where the running kernel has none, `cargo xtask bench obi` runs this program in an emulated one.

mod costs;
mod counts;
mod exposition;
mod report;
mod results;
mod traffic;
mod watcher;

pub use report::page;
pub use results::{Results, Setting};

use anyhow::Result;
use std::path::PathBuf;

use self::traffic::KEYS;
use crate::gateway_bench::client;
use crate::machine::describe;
use crate::testbed::Testbed;

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of `shard`, `gateway` and `probe`.
    pub programs: PathBuf,
    /// OBI's program.
    pub obi: PathBuf,
    /// Rounds of the costs.
    pub rounds: u32,
    /// Requests of each kind of traffic.
    pub requests: u32,
}

/// Runs all measurements and calls `progress` with a line for each step.
///
/// # Errors
/// When the shards cannot be started. The failure of a watcher or of one kind of traffic is a part of the results.
pub fn run(options: &Options, progress: impl Fn(&str)) -> Result<Results> {
    progress("starting the shards");
    // A full shard answers 404 to reads of other keys, which one kind of traffic needs.
    let full = [("SHARD_MAX_KEYS", KEYS.to_string())];
    let mut testbed = Testbed::start(&options.programs, &full, Some("hot-partition-lab-obi"))?;
    for shard in &testbed.lab.shards {
        client::in_turn(shard.address()?, 1, KEYS, KEYS, |key| traffic::read(&traffic::key(key)))?;
    }
    let mut results = Results::new(options, describe());
    costs::measure(&mut testbed, options, &mut results, &progress)?;
    counts::measure(&mut testbed, options, &mut results, &progress)?;
    Ok(results)
}
