//! Mixed load with seeded random faults for as long as wanted.
//!
//! In each round a random scenario runs under random mitigations, and random faults come and go. A quiet point ends the
//! round: kernel and application must have equal counts. [`resources`] samples what the processes hold, and [`report`]
//! judges it.

pub mod report;
mod resources;
mod trend;

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use fastrand::Rng;
use load::scenario::Scenario;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::sleep;

use self::report::SoakReport;
use self::resources::{Sampler, Targets};
use crate::faults::fault::Fault;
use crate::faults::stage::{Stage, Wiring};
use crate::faults::timeline::Timeline;

/// Length of a round's load.
const ROUND: Duration = Duration::from_secs(40);

/// Time between the end of the load and the quiet point. What ends a while after its client, such as a drain, has ended.
const SETTLE: Duration = Duration::from_secs(8);

/// The faults of the rounds: all that leave gateway and probe alive, as their memory is watched from start to end.
const FAULTS: [Fault; 15] = [
    Fault::Killed,
    Fault::Frozen,
    Fault::Slow,
    Fault::Garbage,
    Fault::HalfAnAnswer,
    Fault::ResetInMidAnswer,
    Fault::Huge,
    Fault::Mute,
    Fault::CloseAfter,
    Fault::WrongKey,
    Fault::ShardDrained,
    Fault::ProbeFrozen,
    Fault::ScraperGone,
    Fault::UnfinishedBodies,
    Fault::SlowReaders,
];

/// Length and seed of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Minutes.
    pub minutes: u32,
    /// Determines scenarios, mitigations, faults and their times.
    pub seed: u64,
}

/// A moment without load, after a round.
#[derive(Clone, Debug)]
struct QuietPoint {
    at: Duration,
    /// Why kernel and application do not agree.
    wrong: Option<String>,
}

/// Runs rounds and calls `progress` with a line for each.
///
/// # Errors
/// If the lab does not start, or a part of it does not come back after a fault.
pub async fn run(plan: Plan, progress: impl Fn(&str)) -> Result<SoakReport> {
    let upstream_timeout_ms = Timeline::FULL.upstream_timeout_ms;
    let mut stage = Stage::start(Wiring { proxied: true, upstream_timeout_ms, ..Wiring::default() }).await?;
    let (mut rng, begin) = (Rng::with_seed(plan.seed), Instant::now());
    let length = Duration::from_secs(60 * u64::from(plan.minutes));
    let targets = Targets::default();
    targets.set(&stage.lab)?;
    let sampler = Sampler::start(targets.clone(), begin);
    let (mut quiet, mut faults) = (Vec::new(), BTreeMap::new());
    while begin.elapsed() < length {
        let scenario = round(&mut stage, &targets, &mut rng, &mut faults).await?;
        sleep(SETTLE).await;
        let at = begin.elapsed();
        let wrong = stage.agreed().await.err().map(|error| format!("{error:#}"));
        sampler.at_rest(at).await;
        let state = wrong.as_deref().unwrap_or("difference 0");
        progress(&format!("{:5.1} min: {scenario}: {state}", at.as_secs_f64() / 60.0));
        quiet.push(QuietPoint { at, wrong });
    }
    let counted = stage.lab.received().await.iter().sum();
    Ok(SoakReport::new(plan, sampler.end(), quiet, faults, counted))
}

/// Runs one scenario with faults and returns a description.
async fn round(
    stage: &mut Stage,
    targets: &Targets,
    rng: &mut Rng,
    faults: &mut BTreeMap<String, u32>,
) -> Result<String> {
    let cache = ["off", "all", "hot_only"][rng.usize(..3)];
    let replication = [1, 1, 4][rng.usize(..3)];
    let stale = rng.bool();
    stage
        .mitigate(&json!({
            "cache": cache, "replication": replication, "stale_while_revalidate": stale, "ttl_seconds": 5,
        }))
        .await?;
    // `celebrity-404` needs shards with other settings.
    let scenarios: Vec<_> =
        Scenario::value_variants().iter().filter(|scenario| scenario.absent_key().is_none()).collect();
    let scenario = scenarios[rng.usize(..scenarios.len())].to_possible_value().context("a name")?;
    let scenario = scenario.get_name();
    let (seconds, seed) = (ROUND.as_secs().to_string(), rng.u32(..).to_string());
    let arguments = ["run", scenario, "--rate-factor", "2", "--duration", &seconds, "--seed", &seed];
    let (load, begin) = (stage.lab.load_started(&arguments), Instant::now());
    let mut names = Vec::new();
    loop {
        sleep(Duration::from_millis(rng.u64(1_000..8_000))).await;
        if begin.elapsed() > ROUND * 3 / 4 {
            break;
        }
        let fault = FAULTS[rng.usize(..FAULTS.len())];
        *faults.entry(fault.name()).or_default() += 1;
        names.push(fault.name());
        fault.begin(stage).await?;
        sleep(Duration::from_millis(rng.u64(500..8_000))).await;
        fault.end(stage).await?;
        targets.set(&stage.lab)?;
    }
    // The generator refuses to report figures of a disturbed run; the other witnesses count all the same.
    load.ended().await;
    Ok(format!("{scenario}, cache {cache}, {replication} replicas, {}", names.join(" ")))
}
