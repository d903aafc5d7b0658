//! Measures the probe on one lab's cgroup beside an equal, unwatched lab.
//!
//! Both labs receive load in turn. The slices are so short that disturbances of the machine affect both.
//!
//! The watcher must be restricted to one lab. Two equal processes may differ by some percent for their whole life.
//! Each lab is therefore the watched one in turn, and every pair has its own labs. A watcher's own process works
//! during the slices of both labs. Its share of the machine's CPU time is therefore added to the loss in the slices.
//! This counts some of it twice, but never misses any.
//!
//! The measured state is a lab as it starts: the watcher is attached before the gateways connect to the shards. Each
//! half of a pair therefore has new gateways, which are warmed up after the watcher has started.

use anyhow::Result;
use std::time::{Duration, Instant};

use super::pairs::{K6_FEWER, Pair, STRAIGHT, Speed};
use super::report::Row;
use super::testbed::{Testbed, TrafficPath};
use super::{Options, SETTLING};
use crate::machine::{OWN, cpu_seconds, processors};

/// Slices that warm up a lab.
const WARM_UP: u64 = 16;

/// Results of a pair's slices.
#[derive(Default)]
struct Found {
    with: Vec<Speed>,
    without: Vec<Speed>,
    /// CPU time of the watchers' processes, and how long they worked.
    own_seconds: f64,
    elapsed: Duration,
}

/// Runs one pair of labs, with load on the row's path.
pub(super) fn pair(options: &Options, row: &mut Row, round: u32, watched_first: bool) -> Result<Pair> {
    let mut labs = [options.testbed("one")?, options.testbed("other")?];
    let short = options.requests / options.slices;
    let (slices, slice) = match row.path {
        TrafficPath::Straight => (options.slices, short * STRAIGHT),
        TrafficPath::Gateway | TrafficPath::Lab => (options.slices, short),
        // At least one slice for each half of the pair.
        TrafficPath::K6 if options.slices < 2 * K6_FEWER => (2, options.requests / 2),
        TrafficPath::K6 => (options.slices / K6_FEWER, short * K6_FEWER),
    };
    let (warming, warm_up) =
        if row.path == TrafficPath::K6 { (TrafficPath::Lab, short) } else { (row.path, slice) };
    let mut found = Found::default();
    for half in 0..2 {
        if half > 0 {
            labs.iter_mut().for_each(Testbed::renew_gateway);
        }
        // The lab that is watched first is chosen at random.
        let [one, other] = &labs;
        let (watched, plain) = if watched_first == (half == 0) { (one, other) } else { (other, one) };
        let watching = row.watcher.start(watched)?;
        watched.pause(SETTLING);
        for lab in &labs {
            lab.saturate(warming, warm_up * WARM_UP, None, 0)?;
        }
        let own = || watching.process().map_or(0.0, |pid| cpu_seconds(pid, OWN));
        let (began, own_before) = (Instant::now(), own());
        for turn in 0..slices / 2 {
            // Both labs use the same keys, and every turn uses different ones.
            let seed = (u64::from(round) * 2 + half) * slices + turn;
            for is_watched in [turn.is_multiple_of(2), !turn.is_multiple_of(2)] {
                let (lab, speeds) =
                    if is_watched { (watched, &mut found.with) } else { (plain, &mut found.without) };
                speeds.push(lab.saturate(row.path, slice, None, seed)?);
            }
        }
        found.own_seconds += own() - own_before;
        found.elapsed += began.elapsed();
        row.counted.push(watching.stop()?);
    }
    Ok(Pair {
        without: Speed::whole(&found.without),
        with: Speed::whole(&found.with),
        watched_first,
        own_share: found.own_seconds / found.elapsed.as_secs_f64() / processors(),
    })
}
