//! Measures the probe's cost in CPU time and throughput.
//!
//! - [`packets`]: nanoseconds by program and packet
//! - [`runs`]: nanoseconds by program and request
//! - [`pairs`]: throughput with and without the probe or an alternative ([`watcher`]), in alternating runs
//! - [`side_by_side`]: the same on two equal labs, if the watcher can be restricted to one of them

pub(crate) mod empty;
pub(crate) mod generator;
pub mod packets;
pub(crate) mod pairs;
pub mod report;
pub mod runs;
pub(crate) mod side_by_side;
pub mod testbed;
pub mod watcher;

use anyhow::Result;
use std::path::PathBuf;
use std::time::Duration;

use self::pairs::{Pair, Speed};
use self::report::{CostReport, Row};
use self::testbed::{Testbed, TestbedOptions, TrafficPath};
use self::watcher::Watcher;
use crate::machine::load_average;
use lab_tests::lab::SHARDS;

/// Watchers that are measured on paths other than directly to a shard.
const OTHER_PATHS: [Watcher; 5] =
    [Watcher::Nothing, Watcher::Probe, Watcher::EqualLabs, Watcher::EmptyOnShards, Watcher::ProbeOnShards];

/// Watchers that are measured under k6's load.
const K6_WATCHERS: [Watcher; 2] = [Watcher::EqualLabs, Watcher::ProbeOnShards];

/// Pause after a watcher's start. A probe first reads all of its tables.
const SETTLING: Duration = Duration::from_millis(500);

/// What to measure, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of `shard`, `gateway`, `load` and `probe`.
    pub programs: PathBuf,
    /// Path of k6, if present.
    pub k6: Option<PathBuf>,
    /// Pairs of runs for each watcher.
    pub pairs: u32,
    /// Requests with a watcher, and as many without, in each pair.
    pub requests: u64,
    /// Slices of each of two labs side by side, into which these requests are divided. A lab is watched in half of
    /// its slices.
    pub slices: u64,
    /// Determines the order of runs.
    pub seed: u64,
}

impl Options {
    fn testbed(&self, cgroup: &str) -> Result<Testbed> {
        Testbed::start(TestbedOptions {
            programs: &self.programs,
            k6: self.k6.as_deref(),
            shards: SHARDS,
            cgroup: Some(cgroup),
            settings: &[],
            generator_cpu: true,
        })
    }
}

/// Runs all measurements and calls `progress` with a line for each step.
///
/// # Errors
/// If shards, load generator or probe cannot be started.
pub fn run(options: &Options, progress: impl Fn(&str)) -> Result<CostReport> {
    let load_before = load_average();
    // The number must be divisible by the slices.
    let options =
        &Options { requests: options.requests / options.slices * options.slices, ..options.clone() };
    progress("single packets through the kernel programs");
    let packets = packets::measure()?;
    progress("starting and warming up the shards");
    let testbed = options.testbed("shards")?;
    testbed.warm_up(options.requests)?;
    progress("runs of the kernel programs under load");
    let measured =
        TrafficPath::NATIVE.into_iter().map(|path| runs::measure(&testbed, path, options.requests));
    let runs = measured.collect::<Result<_>>()?;
    let k6 = generator::k6_version(options.k6.as_deref()).map_err(|error| format!("{error:#}"));
    let rows = all_pairs(&testbed, options, k6.as_ref().err(), &progress)?;
    Ok(CostReport {
        packets,
        runs,
        rows,
        pairs: options.pairs,
        requests: options.requests,
        slices: options.slices,
        seed: options.seed,
        k6: k6.ok(),
        load_average: [load_before, load_average()],
    })
}

/// Runs one pair of each watcher per round. Each round has its own order, so that a disturbance affects all watchers.
/// `no_k6` is the reason why k6 is missing.
fn all_pairs(
    testbed: &Testbed,
    options: &Options,
    no_k6: Option<&String>,
    progress: &impl Fn(&str),
) -> Result<Vec<Row>> {
    let straight = Watcher::ALL.into_iter().map(|watcher| Row::new(watcher, TrafficPath::Straight));
    let others = [TrafficPath::Gateway, TrafficPath::Lab];
    let others = others.into_iter().flat_map(|path| OTHER_PATHS.map(|watcher| Row::new(watcher, path)));
    let k6 = K6_WATCHERS.map(|watcher| Row { absent: no_k6.cloned(), ..Row::new(watcher, TrafficPath::K6) });
    let mut rows: Vec<Row> = straight.chain(others).chain(k6).collect();
    let mut random = fastrand::Rng::with_seed(options.seed);
    for round in 0..options.pairs {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        random.shuffle(&mut order);
        for at in order {
            // Also drawn for absent rows, so that the seed alone determines the order of the rest.
            let watched_first = random.bool();
            let Some(row) = rows.get_mut(at).filter(|row| row.absent.is_none()) else { continue };
            let pair = if row.watcher.is_side_by_side() {
                side_by_side::pair(options, row, round, watched_first)
            } else {
                pair(testbed, row, options.requests, round, watched_first)
            };
            match pair {
                Ok(pair) => {
                    progress(&format!(
                        "pair {} of {}, {}, {}: {:+.1} %",
                        round + 1,
                        options.pairs,
                        row.watcher.name(),
                        row.path.name(),
                        -100.0 * pair.loss()
                    ));
                    row.pairs.push(pair);
                }
                // The row records the reason.
                Err(error) if row.pairs.is_empty() && row.watcher.may_be_missing(testbed) => {
                    progress(&format!("{}, {}: {error:#}", row.watcher.name(), row.path.name()));
                    row.absent = Some(format!("{error:#}"));
                }
                Err(error) => {
                    return Err(error.context(format!("{}, {}", row.watcher.name(), row.path.name())));
                }
            }
        }
    }
    Ok(rows)
}

/// Runs once without the watcher, twice with it, and once without, or the reverse. A steady drift of the machine's
/// speed therefore cancels out. Both sides use the same keys. The two runs of a side and all rounds use different
/// keys.
fn pair(testbed: &Testbed, row: &mut Row, requests: u64, round: u32, watched_first: bool) -> Result<Pair> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for watched in [watched_first, !watched_first, !watched_first, watched_first] {
        let speeds = if watched { &mut with } else { &mut without };
        let seed = 2 * u64::from(round) + speeds.len() as u64;
        let watcher = if watched { row.watcher } else { Watcher::Nothing };
        let watching = watcher.start(testbed)?;
        // The watcher's start is not measured. Both sides pause, so that they run under the same conditions.
        testbed.pause(SETTLING);
        speeds.push(testbed.saturate(row.path, requests / 2, watching.process(), seed)?);
        let counted = watching.stop()?;
        if watched {
            row.counted.push(counted);
        }
    }
    Ok(Pair { without: Speed::whole(&without), with: Speed::whole(&with), watched_first, own_share: 0.0 })
}
