//! Streams at their own rates, from a plan to its report.

use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

use crate::answer::Fault;
use crate::config::{OutputArgs, RunArgs, StreamArgs, TargetArgs};
use crate::control::{Gateway, LoadError};
use crate::keys::KeySpace;
use crate::open_loop::{self, Target};
use crate::predict;
use crate::progress::Progress;
use crate::refusal::{self, Figures};
use crate::report::{CacheRun, Report};
use crate::scenario::{CACHE_TTL_SECONDS, Scenario, Stream};
use crate::schedule::Schedule;
use crate::stream_report::StreamReport;
use crate::tally::Tally;

/// From here on a caching run waits after switching the cache on, as the script for k6 does.
const FULL_DURATION: f64 = 120.0;
/// How long.
const CACHE_WAIT: Duration = Duration::from_secs(5);
/// Until the first request: time to start the streams' threads, so that none begins late.
const HEAD_START: Duration = Duration::from_millis(50);
/// From one stream's seed to the next one's; any odd number far from 1 would do.
const SEED_STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// The share of errors that a single stream must stay below.
const ERROR_SHARE: f64 = 0.01;

/// What is to be sent, where to, and for how long.
struct Plan<'a> {
    streams: Vec<Stream>,
    scenario: Option<Scenario>,
    duration: f64,
    seed: u64,
    target: &'a TargetArgs,
    output: &'a OutputArgs,
}

/// Runs a scenario.
///
/// # Errors
/// When the gateway cannot be reached, refuses the cache, or the figures mean nothing.
pub async fn run(args: &RunArgs) -> Result<Report, LoadError> {
    let plan = Plan {
        streams: args.scenario.streams(args.rate_factor)?,
        scenario: Some(args.scenario),
        duration: args.duration,
        seed: args.seed,
        target: &args.target,
        output: &args.output,
    };
    carry_out(&plan).await
}

/// Runs one stream.
///
/// # Errors
/// When the gateway cannot be reached or the figures mean nothing.
pub async fn stream(args: &StreamArgs) -> Result<Report, LoadError> {
    let keys = KeySpace::numbered("user-", args.keys.get(), args.distribution)?;
    let plan = Plan {
        streams: vec![Stream::reads("user", args.rate, args.in_flight as usize, keys)],
        scenario: None,
        duration: args.duration,
        seed: args.seed,
        target: &args.target,
        output: &args.output,
    };
    carry_out(&plan).await
}

async fn carry_out(plan: &Plan<'_>) -> Result<Report, LoadError> {
    let streams = &plan.streams;
    let mut gateway = Gateway::find(&plan.target.gateway).await?;
    let state = gateway.state().await?;
    let cache = prepare(plan, &mut gateway).await?;
    let keys = streams.iter().flat_map(|stream| stream.keys.keys());
    let by_modulo = gateway.places_by_modulo(keys, state.num_shards).await?;

    let progress = Arc::new(Progress::default());
    let target = Target {
        addr: gateway.addr,
        host: gateway.host.clone(),
        shards: state.num_shards,
        any_shard: state.any_shard() || !by_modulo,
        start: Instant::now() + HEAD_START,
        progress: Arc::clone(&progress),
    };
    let printer = progress.print(plan.output.progress, format!("{} s", plan.duration));
    let mut running = JoinSet::new();
    for (i, stream) in (0u64..).zip(streams) {
        let seed = plan.seed.wrapping_add(i.wrapping_mul(SEED_STEP));
        let (stream, schedule, target) = (stream.clone(), plan.schedule(stream), target.clone());
        running.spawn(async move { (i, open_loop::run(stream, schedule, seed, target).await) });
    }
    let mut ended = running.join_all().await;
    drop(printer);
    ended.sort_unstable_by_key(|(i, _)| *i);

    let prediction = predict::shares(streams, state.num_shards);
    let hottest = prediction.hottest.as_ref().map(|(key, _)| key);
    let (mut whole, mut hottest_sent) = (Tally::new(state.num_shards.get() as usize), 0);
    let mut reports = Vec::new();
    for (stream, (_, tally)) in streams.iter().zip(ended) {
        let tally =
            tally.map_err(|source| LoadError::Io { what: "a stream could not be started".into(), source })?;
        reports.push(StreamReport::new(stream, &tally, plan.output.histograms));
        if stream.keys.keys().first() == hottest {
            hottest_sent += tally.hottest_sent;
        }
        whole.merge(&tally);
    }
    whole.hottest_sent = hottest_sent;
    let figures = plan.figures(&whole);
    refusal::judge(&figures)?;

    let title = plan.scenario.map_or("stream", Scenario::title);
    let mut report = Report::new(title, plan.target.gateway.to_string(), plan.seed, &whole, &prediction);
    report.duration_seconds = plan.duration;
    report.offered_per_second = Some(figures.offered_per_second);
    report.achieved_per_second = figures.achieved_per_second;
    report.streams = reports;
    match plan.scenario {
        Some(scenario) => report.judge_by(scenario.thresholds()),
        None => report.judge_errors(ERROR_SHARE),
    }
    if let Some(cache) = cache {
        report.add_cache(&cache);
    }
    Ok(report)
}

/// What a scenario wants done before its first request.
async fn prepare(plan: &Plan<'_>, gateway: &mut Gateway) -> Result<Option<CacheRun>, LoadError> {
    let Some(scenario) = plan.scenario else { return Ok(None) };
    if let Some(absent) = scenario.absent_key() {
        let others = plan.streams.iter().flat_map(|stream| stream.keys.keys());
        gateway.fill_shard_of(absent, others).await?;
    }
    if !scenario.caches() {
        return Ok(None);
    }
    gateway.enable_cache().await?;
    if plan.duration >= FULL_DURATION {
        tokio::time::sleep(CACHE_WAIT).await;
    }
    let upstream = predict::upstream(&plan.streams, plan.duration, f64::from(CACHE_TTL_SECONDS));
    Ok(Some(CacheRun { upstream, entries_at_start: gateway.state().await?.cache_size }))
}

impl Plan<'_> {
    fn schedule(&self, stream: &Stream) -> Schedule {
        let (from, to) = stream.window;
        Schedule::new(stream.rate, (to - from) * self.duration).later(from * self.duration)
    }

    #[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
    fn figures(&self, tally: &Tally) -> Figures {
        let offered: f64 = self.streams.iter().map(Stream::mean_rate).sum();
        Figures {
            planned: self.streams.iter().map(|stream| self.schedule(stream).count()).sum(),
            sent: tally.sent,
            dropped: tally.dropped,
            late: tally.late,
            max_lag: tally.max_lag,
            answers: tally.sent - tally.faults.get(&Fault::Transport).copied().unwrap_or(0),
            offered_per_second: offered,
            // The last one is due before the end; what is sent after it takes its time.
            achieved_per_second: tally.sent as f64 / tally.last_sent.as_secs_f64().max(self.duration),
        }
    }
}
