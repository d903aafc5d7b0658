//! Mixed load with seeded random faults for as long as wanted.
//!
//! In each round a scenario runs under mitigations, and faults come and go. A quiet point ends the round: kernel and
//! application must have equal counts. The rounds of the warm-up go through all faults, scenarios and cache modes, so
//! that everything that is created on first use exists. Later rounds are random. [`resources`] samples what the
//! processes hold, and [`report`] compares the rests.

mod plan;
pub mod report;
mod resources;
mod round;
mod trend;

use anyhow::Result;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::sleep;

pub use self::plan::Plan;
use self::report::SoakReport;
use self::resources::{Sampler, Targets};
use self::round::Round;
use crate::faults::stage::{Stage, Wiring};
use crate::faults::timeline::Timeline;

/// Time between the end of the load and the quiet point. What ends a while after its client, such as a drain, has ended.
const SETTLE: Duration = Duration::from_secs(8);

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
    let targets = Targets::default();
    targets.set(&stage.lab)?;
    let sampler = Sampler::start(targets.clone(), begin);
    let (mut quiet, mut faults, mut rests) = (Vec::new(), BTreeMap::new(), Vec::new());
    for end in plan.rests() {
        let is_warm_up = rests.is_empty();
        loop {
            let round = if is_warm_up { Round::of_warm_up(quiet.len()) } else { Round::random(&mut rng) };
            let what = round.run(&mut stage, &targets, &mut rng, &mut faults).await?;
            sleep(SETTLE).await;
            let at = begin.elapsed();
            let wrong = stage.agreed().await.err().map(|error| format!("{error:#}"));
            let state = wrong.as_deref().unwrap_or("difference 0");
            progress(&format!("{:5.1} min: {what}: {state}", at.as_secs_f64() / 60.0));
            quiet.push(QuietPoint { at, wrong });
            if begin.elapsed() + plan.rest() >= end {
                break;
            }
        }
        sleep(plan.rest()).await;
        rests.push(begin.elapsed());
    }
    let counted = stage.lab.received().await.iter().sum();
    Ok(SoakReport::new(plan, sampler.end(), rests, quiet, faults, counted))
}
