//! Shares of keys and shards under the lab's loads, at full speed.

use hotspot::predict;
use load::keys::{Distribution, KeySpace};
use load::predict::{Prediction, shares};
use load::scenario::{Scenario, Stream};
use std::fmt;
use std::num::NonZeroU32;

use super::ExperimentOutcome;
use super::figure::{Figure, Rule, Unit};
use super::rig::{Reading, Rig};
use super::trials::{Order, Plan, Trials};
use super::window::enough;
use crate::table::thousands;
use lab_tests::lab::SHARDS;

/// See [`super::Experiment::question`].
pub(crate) const QUESTION: &str =
    "Do shards and keys get their predicted shares, within one percentage point?";

/// Returns the requests of a run, in two halves.
fn requests(plan: Plan) -> u64 {
    plan.sized(100_000, 10_000)
}

/// Returns the factor of the celebrity's rates, and the seconds: 52,000 requests in each half.
fn celebrity(plan: Plan) -> [&'static str; 2] {
    plan.sized(["40", "10"], ["10", "4"])
}

/// The load.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Arm {
    Uniform,
    Zipf(f64),
    Celebrity,
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => write!(f, "uniform"),
            Self::Zipf(exponent) => write!(f, "Zipf {exponent}"),
            Self::Celebrity => write!(f, "celebrity"),
        }
    }
}

const ARMS: [Arm; 4] = [Arm::Uniform, Arm::Zipf(1.5), Arm::Zipf(0.99), Arm::Celebrity];

/// One run: its total growth, and its hottest key by application and kernel.
struct Run {
    all: Reading,
    hottest_key: [f64; 2],
}

impl Arm {
    fn streams(self) -> Vec<Stream> {
        let users = |law| {
            KeySpace::numbered("user-", 1_000, law).map(|keys| vec![Stream::reads("user", 1.0, 0, keys)])
        };
        let streams = match self {
            Self::Uniform => users(Distribution::Uniform),
            Self::Zipf(exponent) => users(Distribution::Zipf(exponent)),
            Self::Celebrity => Scenario::Celebrity.streams(1.0),
        };
        streams.expect("names of a table are keys")
    }

    fn theory(self) -> Prediction {
        shares(&self.streams(), NonZeroU32::new(SHARDS as u32).expect("there are shards"))
    }

    fn load(self, plan: Plan, seed: u64) -> Vec<String> {
        let law = match self {
            Self::Celebrity => {
                let [factor, seconds] = celebrity(plan);
                let args = ["run", "celebrity", "--rate-factor", factor, "--duration", seconds];
                return args
                    .map(str::to_owned)
                    .into_iter()
                    .chain(["--seed".into(), seed.to_string()])
                    .collect();
            }
            Self::Uniform => "uniform".to_owned(),
            Self::Zipf(exponent) => format!("zipf:{exponent}"),
        };
        let (requests, seed) = ((requests(plan) / 2).to_string(), seed.to_string());
        let args =
            ["saturate", "--requests", &requests, "--keys", "1000", "--distribution", &law, "--seed", &seed];
        args.map(str::to_owned).to_vec()
    }
}

async fn measure(rig: &Rig, plan: Plan, arm: Arm, seed: u64) -> Result<Run, String> {
    let theory = arm.theory();
    let key = theory.hottest.as_ref().map_or("", |(key, _)| key.as_str());
    rig.reset().await?;
    let (start, kernel_before) = (rig.read_at_rest().await?, rig.kernel_reads_of(key).await);
    let mut readings = vec![start];
    for half in 0..2u64 {
        let args = arm.load(plan, 2 * seed + half);
        rig.load(&args.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        readings.push(rig.read_at_rest().await?);
    }
    let halves = [readings[1].since(&readings[0]), readings[2].since(&readings[1])];
    Reading::is_steady(&halves)?;
    let all = readings[2].since(&readings[0]);
    enough(all.offered, requests(plan))?;
    let stats = rig.lab.gateway_stats().await;
    let app = stats.top_keys.iter().find(|top| top.key.as_str() == key).map_or(0, |top| top.count);
    let kernel = rig.kernel_reads_of(key).await - kernel_before;
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
    let hottest_key = [app, kernel].map(|count| count as f64 / all.offered as f64);
    Ok(Run { all, hottest_key })
}

/// Runs the experiment.
pub(crate) async fn run(plan: Plan, progress: &impl Fn(&str)) -> ExperimentOutcome {
    let rig = Rig::start(&[], &[], false).await;
    let measure = async |arm, seed| measure(&rig, plan, arm, seed).await;
    let trials = Trials::run(plan, Order::Shuffled, &ARMS, progress, measure).await;
    let mut figures = Vec::new();
    for arm in ARMS {
        let theory = arm.theory();
        let add = |what: String, unit, predicted, rule, of: &dyn Fn(&Run) -> [f64; 2]| {
            trials.measured(arm, Figure::new(what, unit, Some(predicted), rule), of)
        };
        let within = Rule::Within(plan.allowed());
        for (shard, share) in theory.shares.iter().enumerate() {
            figures.push(add(format!("{arm}: shard {shard}"), Unit::Share, *share, within, &|run| {
                run.all.share(shard)
            }));
        }
        if let Some((key, share)) = &theory.hottest
            && arm != Arm::Uniform
        {
            figures.push(add(format!("{arm}: {key}"), Unit::Share, *share, within, &|run| run.hottest_key));
        }
        let ratio = predict::max_over_mean(&theory.shares);
        figures.push(add(
            format!("{arm}: max/mean"),
            Unit::Times,
            ratio,
            Rule::Within(SHARDS as f64 * plan.allowed()),
            &|run| run.all.max_over_mean(),
        ));
    }
    let method = format!(
        "One lab without a capacity model and without a cache. A run is at least {} requests in two halves: `load saturate` over \
         1,000 keys (uniform, Zipf), or `load run celebrity` at {} times its rates. The seed determines the order of the arms. All \
         arms of a repetition have the same seed. *Application*: each shard's `requests_received`, and the gateway's count of the \
         key. *Kernel*: requests at the shards' sockets. Both are read at rest, after they agree to the request on every shard. \
         Runs with too few requests are also refused. One percentage point of the largest share is 0.04 of max/mean.",
        thousands(requests(plan)),
        celebrity(plan)[0]
    );
    trials.outcome(method, figures, ("Shares of all requests", "share of all requests, %", Unit::Share))
}
