//! Runs streams at constant rates, from the plan to the report.

#[cfg(feature = "stores")]
use protocol::body::LoadStore;
use protocol::body::{AnswerFault, LoadReport, UpstreamPrediction};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

use crate::config::{OutputArgs, RunArgs, StreamArgs, TargetArgs};
use crate::error::RunError;
use crate::gateway::GatewayClient;
use crate::gateway_requests::GatewayRequests;
use crate::keys::KeySpace;
use crate::open_loop::{self, Requests, Shared};
use crate::predict::{self, Prediction};
use crate::progress::Progress;
use crate::refusal::{self, RunFigures};
use crate::report::{self, CacheRun};
#[cfg(feature = "stores")]
use crate::resp::{Cluster, StoreRequests, seed};
use crate::scenario::{CACHE_TTL_SECONDS, Scenario, Stream};
use crate::schedule::Schedule;
use crate::tally::Tally;

/// Minimum length in seconds of a run that waits after it has switched the cache on, as the k6 script does.
const FULL_DURATION: f64 = 120.0;
/// Length of this wait.
const CACHE_WAIT: Duration = Duration::from_secs(5);
/// Time before the first request for starting the streams' threads, so that none starts late.
const HEAD_START: Duration = Duration::from_millis(50);
/// Difference between the seeds of two streams; any large odd number works.
const SEED_STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// The share of errors must be below this in a single stream.
const ERROR_SHARE: f64 = 0.01;

/// The streams of a run, its target and its length.
struct Plan<'a> {
    streams: Vec<Stream>,
    scenario: Option<Scenario>,
    duration: f64,
    seed: u64,
    target: &'a TargetArgs,
    /// The store in place of the gateway.
    #[cfg(feature = "stores")]
    store: Option<&'a store::urls::StoreUrls>,
    output: &'a OutputArgs,
}

/// Runs a scenario.
///
/// # Errors
/// Returns an error when the gateway cannot be reached or refuses the cache, or when the figures are meaningless.
pub async fn run(args: &RunArgs) -> Result<LoadReport, RunError> {
    let plan = Plan {
        streams: args.scenario.streams(args.rate_factor)?,
        scenario: Some(args.scenario),
        duration: args.duration,
        seed: args.seed,
        target: &args.target,
        #[cfg(feature = "stores")]
        store: args.store.as_ref(),
        output: &args.output,
    };
    execute(&plan).await
}

/// Runs one stream.
///
/// # Errors
/// Returns an error when the gateway cannot be reached, or when the figures are meaningless.
pub async fn stream(args: &StreamArgs) -> Result<LoadReport, RunError> {
    let keys = KeySpace::numbered("user-", args.keys.get(), args.distribution)?;
    let plan = Plan {
        streams: vec![Stream::reads("user", args.rate, args.in_flight as usize, keys)],
        scenario: None,
        duration: args.duration,
        seed: args.seed,
        target: &args.target,
        #[cfg(feature = "stores")]
        store: args.store.as_ref(),
        output: &args.output,
    };
    execute(&plan).await
}

async fn execute(plan: &Plan<'_>) -> Result<LoadReport, RunError> {
    #[cfg(feature = "stores")]
    if let Some(urls) = plan.store {
        return on_store(plan, urls).await;
    }
    on_gateway(plan).await
}

async fn on_gateway(plan: &Plan<'_>) -> Result<LoadReport, RunError> {
    let mut gateway = GatewayClient::resolve(&plan.target.gateway).await?;
    let keys = plan.streams.iter().flat_map(|stream| stream.keys.keys());
    let topology = gateway.topology(keys).await?;
    let cache = prepare(plan, &mut gateway).await?;
    let owners: Vec<_> = plan.streams.iter().map(|stream| stream.keys.owners(topology.shards)).collect();
    let requests = plan.streams.iter().zip(&owners);
    let requests =
        requests.map(|(stream, owners)| GatewayRequests::new(stream, owners.clone(), &gateway, topology));
    let tallies = send(plan, requests.collect(), topology.shards).await?;
    let prediction = predict::shares_of(&plan.streams, &owners, topology.shards);
    report_of(plan, plan.target.gateway.to_string(), &tallies, &prediction, cache)
}

/// Runs on a Redis or Valkey store.
#[cfg(feature = "stores")]
async fn on_store(plan: &Plan<'_>, urls: &store::urls::StoreUrls) -> Result<LoadReport, RunError> {
    let cluster = Arc::new(Cluster::discover(urls).await?);
    let seeded = seed::write(&cluster, &plan.streams).await?;
    let caches = plan.scenario.is_some_and(Scenario::caches);
    let requests = plan.streams.iter().map(|stream| StoreRequests::new(stream, &cluster, caches));
    let owners: Vec<_> = plan.streams.iter().map(|stream| cluster.owners(&stream.keys)).collect();
    let tallies = send(plan, requests.collect(), cluster.shards).await?;
    let prediction = predict::shares_of(&plan.streams, &owners, cluster.shards);
    // The cache belongs to this process, so it is empty at the start.
    let cache = caches.then(|| CacheRun {
        upstream: plan.upstream(1),
        upstream_of_gateways: None,
        gateways: None,
        entries_at_start: 0,
    });
    let mut report = report_of(plan, urls.to_string(), &tallies, &prediction, cache)?;
    report.store = Some(LoadStore { seeded, redirected: cluster.redirected() });
    Ok(report)
}

/// Sends the requests of all streams. Returns the counts of each stream.
async fn send<R: Requests>(
    plan: &Plan<'_>,
    requests: Vec<R>,
    shards: NonZeroU32,
) -> Result<Vec<Tally>, RunError> {
    let progress = Arc::new(Progress::default());
    let shared = Shared { shards, start: Instant::now() + HEAD_START, progress: Arc::clone(&progress) };
    let printer = progress.print(plan.output.progress, format!("{} s", plan.duration));
    let mut running = JoinSet::new();
    for ((i, stream), requests) in (0u64..).zip(&plan.streams).zip(requests) {
        let seed = plan.seed.wrapping_add(i.wrapping_mul(SEED_STEP));
        let (stream, schedule, shared) = (stream.clone(), plan.schedule(stream), shared.clone());
        running.spawn(async move { (i, open_loop::run(stream, schedule, seed, requests, shared).await) });
    }
    let mut ended = running.join_all().await;
    drop(printer);
    ended.sort_unstable_by_key(|(i, _)| *i);
    let tallies = ended.into_iter().map(|(_, tally)| tally);
    let failed = |source| RunError::Io { what: "a stream cannot be started".into(), source };
    tallies.collect::<Result<_, _>>().map_err(failed)
}

/// Builds the report, unless the figures are meaningless.
fn report_of(
    plan: &Plan<'_>,
    url: String,
    tallies: &[Tally],
    prediction: &Prediction,
    cache: Option<CacheRun>,
) -> Result<LoadReport, RunError> {
    let hottest = prediction.hottest.as_ref().map(|(key, _)| key);
    let (mut whole, mut hottest_sent) = (Tally::new(prediction.shares.len()), 0);
    let mut reports = Vec::new();
    for (stream, tally) in plan.streams.iter().zip(tallies) {
        reports.push(report::stream_report(stream, tally, plan.output.histograms));
        if stream.keys.keys().first() == hottest {
            hottest_sent += tally.hottest_sent;
        }
        whole.merge(tally);
    }
    whole.hottest_sent = hottest_sent;
    let figures = plan.figures(&whole);
    refusal::check(&figures)?;

    let title = plan.scenario.map_or("stream", Scenario::title);
    let mut report = report::report(title, url, plan.seed, &whole, prediction);
    report.duration_seconds = plan.duration;
    report.offered_per_second = Some(figures.offered_per_second);
    report.achieved_per_second = figures.achieved_per_second;
    report.streams = reports;
    match plan.scenario {
        Some(scenario) => report::add_thresholds(&mut report, scenario.thresholds()),
        None => report::add_error_threshold(&mut report, ERROR_SHARE),
    }
    if let Some(cache) = cache {
        report::add_cache(&mut report, &cache);
    }
    Ok(report)
}

/// Prepares the gateway for a scenario.
async fn prepare(plan: &Plan<'_>, gateway: &mut GatewayClient) -> Result<Option<CacheRun>, RunError> {
    let Some(scenario) = plan.scenario else { return Ok(None) };
    if let Some(absent) = scenario.absent_key() {
        let others = plan.streams.iter().flat_map(|stream| stream.keys.keys());
        gateway.fill_shard_of(absent, others).await?;
    }
    if !scenario.caches() {
        return Ok(None);
    }
    let gateways = gateway.enable_cache().await?;
    if plan.duration >= FULL_DURATION {
        tokio::time::sleep(CACHE_WAIT).await;
    }
    let holding = gateways.as_ref().map_or(1, |gateways| gateways.holding);
    Ok(Some(CacheRun {
        upstream: plan.upstream(1),
        upstream_of_gateways: (holding > 1).then(|| plan.upstream(holding)),
        gateways,
        entries_at_start: gateway.cache_size().await?,
    }))
}

impl Plan<'_> {
    fn schedule(&self, stream: &Stream) -> Schedule {
        let (from, to) = stream.window;
        Schedule::new(stream.rate, (to - from) * self.duration).later(from * self.duration)
    }

    /// The predicted load behind the caches of `gateways` gateways.
    fn upstream(&self, gateways: usize) -> UpstreamPrediction {
        predict::upstream_of(gateways, &self.streams, self.duration, f64::from(CACHE_TTL_SECONDS))
    }

    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
    fn figures(&self, tally: &Tally) -> RunFigures {
        let offered: f64 = self.streams.iter().map(Stream::mean_rate).sum();
        RunFigures {
            planned: self.streams.iter().map(|stream| self.schedule(stream).count()).sum(),
            sent: tally.sent,
            dropped: tally.dropped,
            late: tally.late,
            max_lag: tally.max_lag,
            answers: tally.sent - tally.faults.get(&AnswerFault::Transport).copied().unwrap_or(0),
            offered_per_second: offered,
            // The last request is due before the end. If it is sent later, the run is longer.
            achieved_per_second: tally.sent as f64 / tally.last_sent.as_secs_f64().max(self.duration),
        }
    }
}
