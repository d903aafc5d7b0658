//! The cost of each expiry of a very hot key.
//!
//! The cached key gets 5,000 reads a second. Its shard takes 50 ms per request.

use hotspot::predict::calls_per_expiry;
use serde_json::json;
use std::fmt;
use std::time::Duration;

use super::ExperimentOutcome;
use super::figure::{Figure, Rule, Unit};
use super::rig::{Rig, nothing, report};
use super::trials::{Order, Plan, Trials};

/// See [`super::Experiment::question`].
pub(crate) const QUESTION: &str = "With single-flight, does one expiry of a key with 5,000 reads a second cost its \
     shard one request instead of 251? Does no caller wait with stale-while-revalidate?";

/// Returns the requests per second.
fn rate(plan: Plan) -> f64 {
    plan.sized(5_000.0, 500.0)
}

/// Returns the seconds of load.
fn seconds(plan: Plan) -> f64 {
    plan.sized(8.0, 3.5)
}

/// Latency of a call, in seconds, and as the shard's setting.
const LATENCY: f64 = 0.05;
const LATENCY_MS: &str = "50";
/// Time to live, in seconds.
const TTL: f64 = 1.0;
/// A copy is refreshed in this last part of its time to live.
const REFRESH: f64 = 0.1;
/// Seconds after which the cold start is over.
const WARM: f64 = 1.5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Arm {
    SingleFlight,
    Stale,
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SingleFlight => "single-flight",
            Self::Stale => "and stale-while-revalidate",
        })
    }
}

impl Arm {
    /// Returns the seconds from the start of one fetch to the start of the next.
    const fn cycle(self) -> f64 {
        match self {
            Self::SingleFlight => LATENCY + TTL,
            Self::Stale => LATENCY + (1.0 - REFRESH) * TTL,
        }
    }

    /// Returns the fetches of a run that starts with a cold cache.
    fn fetches(self, plan: Plan) -> f64 {
        (seconds(plan) / self.cycle()).ceil()
    }
}

const ARMS: [Arm; 2] = [Arm::SingleFlight, Arm::Stale];

struct Run {
    /// Calls by application and kernel.
    calls: [f64; 2],
    /// Callers that waited for another caller's fetch: all of them, and those after the cold start.
    waited: f64,
    waited_warm: f64,
    p99_ms: f64,
    max_ms: f64,
}

async fn measure(rig: &Rig, plan: Plan, arm: Arm, seed: u64) -> Result<Run, String> {
    rig.mitigate(&nothing()).await?;
    rig.reset().await?;
    rig.mitigate(&json!({"cache": "all", "ttl_seconds": 1, "stale_while_revalidate": arm == Arm::Stale}))
        .await?;
    let start = rig.read_at_rest().await?;
    let (rate, seconds, seed) = (rate(plan).to_string(), seconds(plan).to_string(), seed.to_string());
    let args = [
        "stream",
        "--rate",
        &rate,
        "--keys",
        "1",
        "--in-flight",
        "2000",
        "--duration",
        &seconds,
        "--seed",
        &seed,
    ];
    let load = rig.lab.load_started(&args);
    tokio::time::sleep(Duration::from_secs_f64(WARM)).await;
    let warm = rig.read().await;
    let report = report(load).await?;
    let end = rig.read_at_rest().await?;
    let all = end.since(&start);
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
    let count = |number: u64| number as f64;
    Ok(Run {
        calls: [all.app.iter().sum(), all.kernel.iter().sum()].map(count),
        waited: count(all.coalesced),
        waited_warm: count(end.since(&warm).coalesced),
        p99_ms: report.latency_ms.p99.unwrap_or(f64::NAN),
        max_ms: report.latency_ms.max.unwrap_or(f64::NAN),
    })
}

/// Runs the experiment.
pub(crate) async fn run(plan: Plan, progress: &impl Fn(&str)) -> ExperimentOutcome {
    let shard = [("BASE_LATENCY_MS", LATENCY_MS), ("LOAD_LATENCY_FACTOR_MS", "0")];
    let rig = Rig::start(&shard, &[], false).await;
    let measure = async |arm, seed| measure(&rig, plan, arm, seed).await;
    let trials = Trials::run(plan, Order::Shuffled, &ARMS, progress, measure).await;
    let mut figures = Vec::new();
    for arm in ARMS {
        // The number of fetches is whole, so half a call too many already means a second call of one expiry.
        let figure = Figure::new(
            format!("{arm}: calls of the shard by expiry"),
            Unit::Count,
            Some(1.0),
            Rule::Within(0.5 / arm.fetches(plan)),
        );
        let calls = |run: &Run| run.calls.map(|calls| calls / arm.fetches(plan));
        figures.push(trials.measured(arm, figure, calls));
    }
    let unmitigated = calls_per_expiry(rate(plan), LATENCY);
    let arm = Arm::SingleFlight;
    let figure = Figure::new(
        format!("{arm}: callers that wait, by expiry"),
        Unit::Count,
        Some(unmitigated - 1.0),
        Rule::Shown,
    );
    figures.push(trials.by_app(arm, figure, |run| run.waited / arm.fetches(plan)));
    let arm = Arm::Stale;
    let figure =
        Figure::new(format!("{arm}: callers that wait, in all"), Unit::Count, Some(0.0), Rule::AtMost(0.0));
    figures.push(trials.by_app(arm, figure, |run| run.waited_warm));
    for arm in ARMS {
        for (name, of) in [("p99", (|run| run.p99_ms) as fn(&Run) -> f64), ("longest", |run| run.max_ms)] {
            let figure = Figure::new(format!("{arm}: {name} latency"), Unit::Milliseconds, None, Rule::Shown);
            figures.push(trials.by_app(arm, figure, of));
        }
    }
    let method = format!(
        "`load stream --rate {} --keys 1` for {} s from a cold cache with a time to live of {TTL} s. The shard takes \
         {LATENCY_MS} ± 2 ms, any number at a time. An expiry comes every {:.2} s. With stale-while-revalidate, which refreshes in \
         the last tenth of the time to live, it comes every {:.2} s. So {} requests ({} with it) are due. Without single-flight \
         each expiry would cost {unmitigated:.0} requests, as many as arrive within {LATENCY_MS} ms. With stale-while-revalidate, \
         waiting callers are counted from {WARM} s on, because a cold cache has nothing to serve. p99 and longest include the \
         cold start.",
        rate(plan),
        seconds(plan),
        Arm::SingleFlight.cycle(),
        Arm::Stale.cycle(),
        Arm::SingleFlight.fetches(plan),
        Arm::Stale.fetches(plan),
    );
    trials.outcome(method, figures, ("Latency of callers", "ms at the load generator", Unit::Milliseconds))
}
