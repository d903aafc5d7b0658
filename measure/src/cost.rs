//! Measures the probe's cost: time of its programs, and throughput beside other watchers.
//!
//! - [`programs`]: nanoseconds by program, packet and request, for HTTP and for RESP
//! - [`empty`]: what the kernel's statistics add to these nanoseconds, to be taken off
//! - [`watcher`]: throughput with the probe, or with an alternative, in alternating runs of one lab

pub(crate) mod empty;
mod programs;
mod report;
mod tool;
mod watcher;

use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;

use self::programs::{Runs, Store};
pub use self::report::{CostReport, Row};
pub use self::watcher::Watcher;
use crate::machine::{CHILDREN, OWN, cpu_seconds, load_average};
use crate::pair::Pair;
use crate::testbed::{Testbed, TrafficPath};

/// Pause after a watcher's start. A probe first reads all of its tables.
const SETTLING: Duration = Duration::from_millis(500);

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of `shard`, `gateway`, `load` and `probe`.
    pub programs: PathBuf,
    /// Rounds. Each has one pair of runs for each watcher, and one run for each protocol.
    pub pairs: u32,
    /// Requests with a watcher, and as many without, in each pair.
    pub requests: u64,
    /// Determines the order of runs.
    pub seed: u64,
}

/// Runs all measurements and calls `progress` with a line for each step.
///
/// # Errors
/// If shards, load generator or probe cannot be started.
pub fn run(options: &Options, progress: impl Fn(&str)) -> Result<CostReport> {
    let load_before = load_average();
    progress("what the kernel's statistics cost");
    let statistics = empty::measure()?;
    progress("starting and warming up the servers");
    let mut testbed = Testbed::start(&options.programs, &[], Some("hot-partition-lab-cost"))?;
    for seed in 0..3 {
        testbed.saturate(TrafficPath::Shard, options.requests, seed, || 0.0)?;
    }
    let store = Store::start(&options.programs).map_err(|error| format!("redis-server: {error:#}"));
    let mut http = Vec::new();
    let mut resp: Result<Vec<Runs>, String> = store.as_ref().map(|_| Vec::new()).map_err(Clone::clone);
    let mut rows = Watcher::ALL.map(Row::new);
    let mut random = fastrand::Rng::with_seed(options.seed);
    // Each round has its own order, so that a disturbance affects all watchers.
    for round in 0..options.pairs {
        progress(&format!("round {} of {}: the programs' own time", round + 1, options.pairs));
        http.push(programs::http(&mut testbed, options.requests, u64::from(round))?);
        if let (Ok(store), Ok(resp)) = (&store, &mut resp) {
            resp.push(store.resp(&testbed.client, options.requests)?);
        }
        random.shuffle(&mut rows);
        for row in rows.iter_mut().filter(|row| row.absent.is_none()) {
            let name = row.watcher.name();
            match pair(&mut testbed, row, options.requests, round, random.bool()) {
                Ok(pair) => {
                    progress(&format!("round {}, {name}: {:+.1} %", round + 1, -100.0 * pair.loss()));
                    row.pairs.push(pair);
                }
                // The row records the reason.
                Err(error) if row.pairs.is_empty() && row.watcher.may_be_missing() => {
                    progress(&format!("{name}: {error:#}"));
                    row.absent = Some(format!("{error:#}"));
                }
                Err(error) => return Err(error.context(name)),
            }
        }
    }
    rows.sort_by_key(|row| Watcher::ALL.iter().position(|watcher| *watcher == row.watcher));
    Ok(CostReport {
        statistics,
        http,
        resp,
        rows: rows.into(),
        pairs: options.pairs,
        requests: options.requests,
        seed: options.seed,
        load_average: [load_before, load_average()],
    })
}

/// Runs once without the watcher, twice with it, and once without, or the reverse. A steady drift of the machine's
/// speed therefore cancels out. Both sides use the same keys. The two runs of a side and all rounds use different
/// keys.
///
/// One lab serves both sides. Two labs beside each other would be less noisy, but packets to the unwatched one cost
/// time too: they pass the rules of nftables, the tracepoint of bpftrace and the filter of tcpdump.
fn pair(
    testbed: &mut Testbed,
    row: &mut Row,
    requests: u64,
    round: u32,
    watched_first: bool,
) -> Result<Pair> {
    Pair::measure([watched_first, !watched_first, !watched_first, watched_first], |is_watched, earlier| {
        let watcher = if is_watched { row.watcher } else { Watcher::Nothing };
        let watching = watcher.start(testbed)?;
        // The watcher's start is not measured. Both sides pause, so that they run under the same conditions.
        lab::signals::pause(SETTLING);
        let seed = 2 * u64::from(round) + earlier;
        // The generator is included: on loopback the programs run in its time. It ends with each run, so this process's
        // children include it.
        let cpu = || {
            let own = watching.process().map_or(0.0, |pid| cpu_seconds(pid, OWN));
            testbed.servers_cpu() + own + cpu_seconds(std::process::id(), CHILDREN)
        };
        let speed = testbed.saturate(TrafficPath::Shard, requests / 2, seed, cpu)?;
        let counted = watching.stop(testbed)?;
        if is_watched {
            row.counted.push(counted);
        }
        Ok(speed)
    })
}
