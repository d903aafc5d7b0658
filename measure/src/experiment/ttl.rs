//! The hit ratio of a cache with time to live and single-flight.
//!
//! It is measured once the cache is steady.

use hotspot::predict;
use std::fmt;

use super::ExperimentOutcome;
use super::figure::{Figure, Rule, Unit};
use super::rig::{Reading, Rig};
use super::trials::{Order, Plan, Trials};
use super::window::{Stream, enough};
use crate::table::thousands;

/// See [`super::Experiment::question`].
pub(crate) const QUESTION: &str = "Is the hit ratio of a warm cache λT/(1 + λT) for each key?";

/// Times to live before the measurement begins.
const WARM_TTLS: f64 = 5.0;
/// The maximum number of repetitions. Three take three minutes, because most of a run is the wait for a steady state.
const MOST_REPETITIONS: u32 = 3;

/// Returns the number of requests required over all repetitions.
fn needed(plan: Plan) -> u64 {
    plan.sized(100_000, 6_000)
}

/// A time to live in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ttl(u32);

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T = {} s", self.0)
    }
}

const ARMS: [Ttl; 2] = [Ttl(1), Ttl(5)];

impl Ttl {
    fn stream(self, plan: Plan) -> Stream {
        let warm = WARM_TTLS * f64::from(self.0) + 1.0;
        Stream { rate: 1_000.0, keys: 1_000, exponent: 0.99, warm, measured: plan.sized(34.0, 6.0) }
    }

    fn predicted(self, plan: Plan) -> f64 {
        let stream = self.stream(plan);
        let rates = stream.probabilities().into_iter().map(|p| stream.rate * p);
        predict::hit_ratio(rates, f64::from(self.0))
    }
}

async fn measure(rig: &Rig, plan: Plan, ttl: Ttl, seed: u64) -> Result<Reading, String> {
    rig.reset().await?;
    rig.mitigate(&serde_json::json!({"cache": "all", "ttl_seconds": ttl.0})).await?;
    let window = ttl.stream(plan).send(rig, seed, async || Ok(())).await?;
    is_steady(&window.halves())?;
    Ok(window.all())
}

/// Whether both halves have the same hit ratio, within four standard errors.
#[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
fn is_steady(halves: &[Reading; 2]) -> Result<(), String> {
    let [one, two] = halves.each_ref().map(|half| half.hit_ratio()[0]);
    let [n, m] = halves.each_ref().map(|half| half.offered.max(1) as f64);
    let error = predict::share_standard_error(f64::midpoint(one, two), 1.0) * (1.0 / n + 1.0 / m).sqrt();
    if (one - two).abs() > 4.0 * error {
        let (one, two) = (100.0 * one, 100.0 * two);
        return Err(format!("not steady: {one:.2} % of hits in the first half and {two:.2} % in the second"));
    }
    Ok(())
}

/// Runs the experiment.
pub(crate) async fn run(plan: Plan, progress: &impl Fn(&str)) -> ExperimentOutcome {
    let plan = Plan { repetitions: plan.repetitions.min(MOST_REPETITIONS), ..plan };
    let arms = plan.sized(&ARMS[..], &ARMS[..1]);
    let rigs = Rig::several(&[], arms.len()).await;
    let measure = async |ttl: Ttl, seed| {
        let place = arms.iter().position(|other| *other == ttl).unwrap_or_default();
        measure(&rigs[place], plan, ttl, seed).await
    };
    let trials = Trials::run(plan, Order::SideBySide, arms, progress, measure).await;
    let figures = arms.iter().map(|&ttl| {
        let requests = enough(trials.of(ttl).map(|run| run.offered).sum(), needed(plan));
        let (predicted, rule) = (ttl.predicted(plan), Rule::Within(plan.allowed()));
        let figure = Figure::new(format!("{ttl}: hit ratio"), Unit::Share, Some(predicted), rule);
        trials.measured(ttl, figure, Reading::hit_ratio).refused_if(requests.err())
    });
    let figures: Vec<Figure> = figures.collect();
    let method = format!(
        "`{}`, exponent 0.99, the cache on for all keys. The first {WARM_TTLS} times to live and a second are left out, the next \
         {} s measured, {} times. Both arms run at the same time, each in its own lab without a capacity model. *Application*: \
         1 − what the shards received / what the gateway got. *Kernel*: the same from the shards' sockets. Runs with \
         fewer than {} requests in all are also refused.",
        ARMS[0].stream(plan).command(),
        ARMS[0].stream(plan).measured,
        plan.repetitions,
        thousands(needed(plan))
    );
    trials.outcome(method, figures, ("Hit ratio of the cache", "reads that reach no shard, %", Unit::Share))
}
