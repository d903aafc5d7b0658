//! A scenario from its name to its report.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

use crate::config::RunArgs;
use crate::control::{Gateway, LoadError};
use crate::open_loop::{self, Target};
use crate::predict;
use crate::progress::Progress;
use crate::refusal::{self, Figures};
use crate::report::{CacheRun, Report, StreamReport};
use crate::scenario::CACHE_TTL_SECONDS;
use crate::schedule::Schedule;
use crate::tally::Tally;

/// From here on a caching run waits after switching the cache on, as the script for k6 does.
const FULL_DURATION: f64 = 120.0;
/// How long.
const CACHE_WAIT: Duration = Duration::from_secs(5);
/// Until the first request: time to start the streams' threads, so that none begins late.
const HEAD_START: Duration = Duration::from_millis(50);
/// From one stream's seed to the next one's; any odd number far from 1 would do.
const SEED_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Runs a scenario.
///
/// # Errors
/// When the gateway cannot be reached, refuses the cache, or the figures mean nothing.
pub async fn run(args: &RunArgs) -> Result<Report, LoadError> {
    let scenario = args.scenario;
    let streams = scenario.streams(args.rate_factor)?;
    let mut gateway = Gateway::find(&args.target.gateway).await?;
    let state = gateway.state().await?;
    let mut cache = None;
    if scenario.caches() {
        gateway.enable_cache().await?;
        if args.duration >= FULL_DURATION {
            tokio::time::sleep(CACHE_WAIT).await;
        }
        let upstream = predict::upstream(&streams, args.duration, f64::from(CACHE_TTL_SECONDS));
        cache = Some(CacheRun { upstream, entries_at_start: gateway.state().await?.cache_size });
    }

    let progress = Arc::new(Progress::default());
    let target = Target {
        addr: gateway.addr,
        host: gateway.host.clone(),
        shards: state.num_shards,
        start: Instant::now() + HEAD_START,
        progress: Arc::clone(&progress),
    };
    let printer = progress.print(args.output.progress, format!("{} s", args.duration));
    let mut running = JoinSet::new();
    for (i, stream) in (0u64..).zip(&streams) {
        let schedule = Schedule::new(stream.rate, args.duration);
        let seed = args.seed.wrapping_add(i.wrapping_mul(SEED_STEP));
        let (stream, target) = (stream.clone(), target.clone());
        running.spawn(async move { (i, open_loop::run(stream, schedule, seed, target).await) });
    }
    let mut ended = running.join_all().await;
    drop(printer);
    ended.sort_unstable_by_key(|(i, _)| *i);

    let mut whole: Option<Tally> = None;
    let mut reports = Vec::new();
    for (stream, (_, tally)) in streams.iter().zip(ended) {
        let tally =
            tally.map_err(|source| LoadError::Io { what: "a stream could not be started".into(), source })?;
        reports.push(StreamReport::new(stream, &tally));
        match &mut whole {
            Some(whole) => whole.merge(&tally),
            None => whole = Some(tally),
        }
    }
    let tally = whole.unwrap_or_default();
    let offered: f64 = streams.iter().map(|stream| stream.rate).sum();
    let achieved = achieved_per_second(&tally, offered);
    let planned = streams.iter().map(|stream| Schedule::new(stream.rate, args.duration).count()).sum();
    refusal::judge(&Figures {
        planned,
        sent: tally.sent,
        dropped: tally.dropped,
        late: tally.late,
        max_lag: tally.max_lag,
        answers: tally.sent - tally.faults.get(&crate::answer::Fault::Transport).copied().unwrap_or(0),
        offered_per_second: offered,
        achieved_per_second: achieved,
    })?;
    let prediction = predict::shares(&streams, state.num_shards);
    let url = args.target.gateway.to_string();
    let mut report = Report::new(scenario.title(), url, args.seed, &tally, &prediction);
    report.duration_seconds = args.duration;
    report.offered_per_second = Some(offered);
    report.achieved_per_second = achieved;
    report.streams = reports;
    report.judge_by(scenario.thresholds());
    if let Some(cache) = cache {
        report.add_cache(&cache);
    }
    Ok(report)
}

/// Sends a second, the time of one more interval counted after the last send.
#[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
fn achieved_per_second(tally: &Tally, offered: f64) -> f64 {
    tally.sent as f64 / (tally.last_sent.as_secs_f64() + 1.0 / offered)
}
