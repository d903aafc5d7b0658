//! Measures what each watcher costs, in rounds with an order of their own.

use anyhow::{Context as _, Result, ensure};
use aya::sys::{Stats, enable_stats};
use lab::signals;
use std::time::{Duration, Instant};

use super::Options;
use super::results::{Cost, Memory, Results};
use super::traffic::Traffic;
use super::watcher::{Watcher, Watching};
use crate::held::Held;
use crate::machine::{busy_seconds, proportional_bytes};
use crate::testbed::Testbed;

/// After a start, and after each kind of traffic, so that OBI's events of a second are processed.
const REST: Duration = Duration::from_millis(1_500);

/// Seed of the order.
const SEED: u64 = 1;

/// Measures all watchers in all rounds and adds the costs to the results.
pub(super) fn measure(
    testbed: &mut Testbed,
    options: &Options,
    results: &mut Results,
    progress: &impl Fn(&str),
) -> Result<()> {
    // The kernel keeps them while this descriptor is open.
    let _statistics = enable_stats(Stats::RunTime).context("the kernel has no statistics of programs")?;
    let shard = testbed.lab.shards.first().context("no shard")?.address()?;
    // The first requests are the slowest.
    Traffic::KeepAlive(8).send(shard, options.requests, Vec::new())?;
    let mut watchers = Watcher::ALL.to_vec();
    let mut random = fastrand::Rng::with_seed(SEED);
    for round in 1..=options.rounds {
        random.shuffle(&mut watchers);
        for watcher in watchers.clone() {
            progress(&format!("costs, round {round} of {}: {}", options.rounds, watcher.name()));
            if let Err(error) = one_round(testbed, options, watcher, results) {
                results.fail(format!("costs, round {round}, {}: {error:#}", watcher.name()))?;
                watchers.retain(|other| *other != watcher);
            }
        }
    }
    Ok(())
}

fn one_round(
    testbed: &mut Testbed,
    options: &Options,
    watcher: Watcher,
    results: &mut Results,
) -> Result<()> {
    let watching = watcher.start(testbed, &options.obi)?;
    signals::pause(REST);
    let shard = testbed.lab.shards.first().context("no shard")?.address()?;
    for traffic in Traffic::COSTED {
        let before = (held(watching.as_ref())?, busy_seconds(), Instant::now());
        let sent = traffic.send(shard, options.requests, Vec::new())?;
        let elapsed = before.2.elapsed();
        signals::pause(REST);
        let (held, busy) = (held(watching.as_ref())?, busy_seconds());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let (sent, nanoseconds) = (sent as f64, held.nanoseconds.saturating_sub(before.0.nanoseconds) as f64);
        results.costs.push(Cost {
            watcher,
            traffic: traffic.name(),
            per_second: sent / elapsed.as_secs_f64(),
            cpu_microseconds: (busy - before.1) * 1e6 / sent,
            program_nanoseconds: nanoseconds / sent,
        });
    }
    let Some(watching) = watching else { return Ok(()) };
    let Held { programs, map_bytes, .. } = Held::by(watching.process.pid())?;
    let process_bytes = proportional_bytes(watching.process.pid()).context("no memory of the process")?;
    results.memory.push(Memory { watcher, process_bytes, map_bytes, programs });
    if watcher == Watcher::Obi {
        results.obi_version = watching.version();
    }
    watching.end()
}

fn held(watching: Option<&Watching>) -> Result<Held> {
    let Some(watching) = watching else { return Ok(Held::default()) };
    let held = Held::by(watching.process.pid())?;
    ensure!(held.programs > 0, "{} holds no kernel program", watching.process.name());
    Ok(held)
}
