//! The probe on one lab's cgroup, beside an equal lab that nothing watches: both are asked in turn, in slices so short that
//! what the machine does besides meets both.
//!
//! That takes a watcher that watches one of them alone. Two equal processes may differ by some percent as long as they
//! live: so either lab is the watched one in turn, and every pair has labs of its own. A watcher's own process works in
//! both labs' slices; so its share of the machine's CPU time is added to what the slices say, which counts some of
//! it twice, and none of it never.
//!
//! What is measured is the lab as it is started: the watcher is there before the gateways' connections to the shards. So
//! either half of a pair has new gateways, and is warmed up when the watcher has begun.

use anyhow::Result;
use std::time::{Duration, Instant};

use super::pairs::{K6_FEWER, Pair, STRAIGHT, Speed};
use super::report::Row;
use super::testbed::{Testbed, TrafficPath};
use super::{Options, SETTLING};
use crate::machine::{OWN, cpu_seconds, processors};

/// Slices that warm a lab up.
const WARM_UP: u64 = 16;

/// What the slices of a pair gave.
#[derive(Default)]
struct Found {
    with: Vec<Speed>,
    without: Vec<Speed>,
    /// Processor time of the watchers' processes, and how long they worked.
    own_seconds: f64,
    elapsed: Duration,
}

/// One pair of labs, loaded on the row's path.
pub(super) fn pair(options: &Options, row: &mut Row, round: u32, watched_first: bool) -> Result<Pair> {
    let mut labs = [options.testbed("one")?, options.testbed("other")?];
    let short = options.requests / options.slices;
    let (slices, slice) = match row.path {
        TrafficPath::Straight => (options.slices, short * STRAIGHT),
        TrafficPath::Gateway | TrafficPath::Lab => (options.slices, short),
        // At least one for either half of the pair.
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
        // Which is watched first is left to chance.
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
            // The same keys for both, others in every turn.
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
