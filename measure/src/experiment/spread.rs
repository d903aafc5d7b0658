//! Relief of the hottest shard when keys follow Zipf's law.
//!
//! Three mitigations are measured: a cache of the hottest keys only, copies of them, and bounded load.

use hotspot::predict::{self, max_over_mean, shard_shares};
use hotspot::spread::{HomeLoad, bounded, evenly, two_choices};
use hotspot::what_if::hot_entries;
use protocol::{Key, placement};
use serde_json::json;
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;

use super::ExperimentOutcome;
use super::figure::{Figure, Rule, Unit};
use super::rig::{Reading, Rig, nothing};
use super::trials::{Order, Plan, Trials};
use super::window::{Stream, enough};
use crate::table::thousands;
use lab_tests::lab::SHARDS;

/// See [`super::Experiment::question`].
pub(crate) const HOT_ONLY: &str = "Do six cached keys, chosen by the detector, relieve the hottest of four shards like a perfect cache of six? That is \
     8.9 % (exponent 1.5) and 19.7 % (0.99) of the offered load.";
/// See [`super::Experiment::question`].
pub(crate) const REPLICATION: &str = "Do copies of the eight hottest keys on four shards balance the load at least as well as even copies? That is max/mean \
     1.11 (exponent 1.5) and 1.14 (0.99).";
/// See [`super::Experiment::question`].
pub(crate) const BOUNDED: &str = "Does bounded load at 1.25 hold the hottest shard to 31.25 % of the load? Does it forward at least what theory requires: \
     17.5 % (exponent 1.5) and none (0.99)?";

/// Returns the number of requests required over all repetitions.
fn needed(plan: Plan) -> u64 {
    plan.sized(100_000, 6_000)
}

const KEYS: usize = 1_000;
/// Number of copied keys, and number of shards that hold each.
const COPIED: usize = 8;
const EPSILON: f64 = 0.25;

/// The exponent of Zipf's law.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Zipf(f64);

impl fmt::Display for Zipf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zipf {}", self.0)
    }
}

const ARMS: [Zipf; 2] = [Zipf(1.5), Zipf(0.99)];

struct Run {
    all: Reading,
    /// The part of all requests that a shard other than the key's home served, by application and kernel.
    elsewhere: [f64; 2],
}

impl Zipf {
    fn stream(self, plan: Plan) -> Stream {
        let (rate, warm, measured) = plan.sized((4_000.0, 5.0, 5.0), (2_000.0, 4.0, 3.0));
        Stream { rate, keys: KEYS, exponent: self.0, warm, measured }
    }

    /// Returns the home shards of the keys.
    fn homes(self) -> Vec<usize> {
        let shards = NonZeroU32::new(SHARDS as u32).expect("there are shards");
        let home = |n| placement::modulo(&Key::new(&format!("user-{n}")).expect("a key"), shards).index();
        (0..KEYS).map(home).collect()
    }

    /// Returns the shards' shares without the `left_out` hottest keys, and the shares of these keys.
    fn apart(self, left_out: usize) -> (Vec<f64>, Vec<HomeLoad>) {
        let (p, homes) = (predict::zipf(KEYS, self.0), self.homes());
        let hot =
            p.iter().zip(&homes).take(left_out).map(|(load, shard)| HomeLoad { shard: *shard, load: *load });
        (shard_shares(&p[left_out..], &homes[left_out..], SHARDS), hot.collect())
    }
}

fn largest(loads: &[f64]) -> f64 {
    loads.iter().copied().fold(0.0, f64::max)
}

async fn measure(
    rig: &Rig,
    plan: Plan,
    (zipf, seed): (Zipf, u64),
    wish: &serde_json::Value,
    listed: Listed,
) -> Result<Run, String> {
    rig.mitigate(&nothing()).await?;
    rig.reset().await?;
    rig.mitigate(wish).await?;
    let before = reads_by_key(rig).await;
    let forwarded_before = forwarded(rig).await;
    let settled = async || {
        let Some((field, count)) = listed else { return Ok(()) };
        let state = rig.mitigate(&json!({})).await?;
        let found = state[field].as_array().map_or(0, Vec::len);
        if found == count {
            Ok(())
        } else {
            Err(format!("after the first seconds {field} were {found}, not {count}"))
        }
    };
    let window = zipf.stream(plan).send(rig, seed, settled).await?;
    Reading::is_steady(&window.halves())?;
    let (homes, after) = (zipf.homes(), reads_by_key(rig).await);
    let away = |(shard, key): &(usize, String)| {
        let rank = key.strip_prefix("user-").and_then(|n| n.parse::<usize>().ok());
        rank.and_then(|rank| homes.get(rank)).is_some_and(|home| home != shard)
    };
    let grown = |(at, count): (&(usize, String), &u64)| count - before.get(at).copied().unwrap_or(0);
    let elsewhere: u64 = after.iter().filter(|(at, _)| away(at)).map(grown).sum();
    #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
    let (sent, elsewhere) = (window.report.sent as f64, elsewhere as f64);
    let elsewhere = [(forwarded(rig).await - forwarded_before) / sent, elsewhere / sent];
    Ok(Run { all: window.all(), elsewhere })
}

/// A field of the mitigations' state, and the number of entries it must have when the window begins.
type Listed = Option<(&'static str, usize)>;

/// Returns the reads by shard and key in the kernel's tables.
async fn reads_by_key(rig: &Rig) -> HashMap<(usize, String), u64> {
    let answer = rig.lab.probe_json("/api/keys?limit=1000").await;
    let shards = answer["shards"].as_array().cloned().unwrap_or_default();
    let keys = shards.iter().enumerate().flat_map(|(shard, keys)| {
        let keys = keys["keys"].as_array().cloned().unwrap_or_default();
        keys.into_iter().filter_map(move |key| {
            Some(((shard, key["key"].as_str()?.to_owned()), key["requests"].as_u64()?))
        })
    });
    keys.collect()
}

/// Returns the number of requests that the gateway forwarded, from its metric.
async fn forwarded(rig: &Rig) -> f64 {
    let answer = rig.lab.client.get(rig.lab.at_gateway("/metrics")).send().await;
    let text = match answer {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    };
    let value = text.lines().find_map(|line| line.strip_prefix("gateway_bounded_load_forwarded_total "));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}

/// Returns settings of a shard with a fixed, long time per request, so that many requests are in flight. The
/// gateway's choices depend on the requests in flight.
fn slow(milliseconds: &'static str) -> [(&'static str, &'static str); 1] {
    [("BASE_LATENCY_MS", milliseconds)]
}

async fn trials(
    plan: Plan,
    rig: &Rig,
    wish: serde_json::Value,
    listed: Listed,
    progress: &impl Fn(&str),
) -> Trials<Zipf, Run> {
    let measure = async |zipf, seed| measure(rig, plan, (zipf, seed), &wish, listed).await;
    Trials::run(plan, Order::Shuffled, &ARMS, progress, measure).await
}

/// Returns a figure of an arm, refused if its runs are too few or too small.
fn measured(trials: &Trials<Zipf, Run>, zipf: Zipf, figure: Figure, of: impl Fn(&Run) -> [f64; 2]) -> Figure {
    let requests = enough(trials.of(zipf).map(|run| run.all.offered).sum(), needed(trials.plan));
    trials.measured(zipf, figure, of).refused_if(requests.err())
}

fn method(plan: Plan, what: &str) -> String {
    let stream = ARMS[0].stream(plan);
    format!(
        "One lab, `{}` with exponents 1.5 and 0.99. The seed determines their order; both of a repetition have the same seed. {what} \
         The first {} s are left out, the next {} s measured. *Application*: what the shards received and what the gateway got. \
         *Kernel*: requests at the shards' sockets, and its tables of keys. Runs whose keys are not found in the first \
         seconds are also refused, and runs with fewer than {} requests.",
        stream.command(),
        stream.warm,
        stream.measured,
        thousands(needed(plan))
    )
}

/// Runs the experiment with the hot-only cache.
pub(crate) async fn hot_only(plan: Plan, progress: &impl Fn(&str)) -> ExperimentOutcome {
    let entries = hot_entries(SHARDS);
    let rig = Rig::start(&[], &[], false).await;
    let trials = trials(
        plan,
        &rig,
        json!({"cache": "hot_only", "ttl_seconds": 60}),
        Some(("hot_keys", entries)),
        progress,
    )
    .await;
    let mut figures = Vec::new();
    for zipf in ARMS {
        let (rest, hot) = zipf.apart(entries);
        let perfect = largest(&rest);
        let figure = Figure::new(
            format!("{zipf}: hottest shard's share of the offered load"),
            Unit::Share,
            Some(perfect),
            Rule::AtMost(perfect + plan.allowed()),
        );
        figures.push(measured(&trials, zipf, figure, |run| run.all.hottest_share()));
        let hits: f64 = hot.iter().map(|key| key.load).sum();
        let figure = Figure::new(
            format!("{zipf}: hit ratio"),
            Unit::Share,
            Some(hits),
            Rule::Within(2.0 * plan.allowed()),
        );
        figures.push(measured(&trials, zipf, figure, |run| run.all.hit_ratio()));
    }
    let method = method(
        plan,
        "The cache is `hot_only` with a time to live of 60 s. There is no capacity model. The prediction is a perfect cache of the six \
         hottest keys. Keys of nearly equal rank may replace each other.",
    );
    trials.outcome(method, figures, ("A cache of six hot keys", "share of the offered load, %", Unit::Share))
}

/// Runs the experiment with replication.
pub(crate) async fn replication(plan: Plan, progress: &impl Fn(&str)) -> ExperimentOutcome {
    let rig = Rig::start(&slow("10"), &[], false).await;
    let wish = json!({"replication": SHARDS, "replicated_keys": COPIED});
    let trials = trials(plan, &rig, wish, Some(("replicated", COPIED)), progress).await;
    let mut figures = Vec::new();
    for zipf in ARMS {
        let (rest, hot) = zipf.apart(COPIED);
        let even = max_over_mean(&evenly(&rest, &hot, SHARDS));
        let figure = Figure::new(
            format!("{zipf}: max/mean, vs. even copies"),
            Unit::Times,
            Some(even),
            Rule::AtMost(even + plan.sized(0.0, SHARDS as f64 * plan.allowed())),
        );
        figures.push(measured(&trials, zipf, figure, |run| run.all.max_over_mean()));
        let chosen = max_over_mean(&two_choices(&rest, &hot, SHARDS).loads);
        // No requirement: choices depend on the requests in flight, which is noisy, and the optimum is not promised.
        let figure = Figure::new(
            format!("{zipf}: max/mean, vs. the best of two choices"),
            Unit::Times,
            Some(chosen),
            Rule::Shown,
        );
        figures.push(measured(&trials, zipf, figure, |run| run.all.max_over_mean()));
        let (all, nothing) = zipf.apart(0);
        let without = max_over_mean(&evenly(&all, &nothing, 1));
        let figure =
            Figure::new(format!("{zipf}: max/mean, vs. no copies"), Unit::Times, Some(without), Rule::Shown);
        figures.push(measured(&trials, zipf, figure, |run| run.all.max_over_mean()));
    }
    let method = method(
        plan,
        "Eight keys have copies on all four shards. A read goes to the one of two with fewer requests in flight. A shard takes \
         10 ± 2 ms a request without a limit, so that about 40 are in flight.",
    );
    trials.outcome(
        method,
        figures,
        ("Copies of eight keys on four shards", "hottest shard over the mean", Unit::Times),
    )
}

/// Runs the experiment with bounded load.
pub(crate) async fn bounded_load(plan: Plan, progress: &impl Fn(&str)) -> ExperimentOutcome {
    let gateway = [("PLACEMENT", "bounded"), ("BOUNDED_LOAD_EPSILON", "0.25")];
    let rig = Rig::start(&slow("50"), &gateway, false).await;
    let trials = trials(plan, &rig, nothing(), None, progress).await;
    let mut figures = Vec::new();
    for zipf in ARMS {
        let (all, _) = zipf.apart(0);
        let least = bounded(&all, EPSILON);
        let figure = Figure::new(
            format!("{zipf}: forwarded"),
            Unit::Share,
            Some(least.forwarded),
            Rule::AtLeast(least.forwarded - plan.allowed()),
        );
        figures.push(measured(&trials, zipf, figure, |run| run.elsewhere));
        let most = largest(&least.loads);
        let figure = Figure::new(
            format!("{zipf}: hottest shard"),
            Unit::Share,
            Some(most),
            Rule::AtMost((1.0 + EPSILON) / SHARDS as f64 + plan.allowed()),
        );
        figures.push(measured(&trials, zipf, figure, |run| run.all.hottest_share()));
    }
    let method = method(
        plan,
        "`PLACEMENT=bounded`, ε = 0.25. A shard takes 50 ± 2 ms a request without a limit, so that about 200 are in flight. Bounds are \
         whole numbers of these. The prediction is a lower bound for constant load. Requests in flight fluctuate, so more is \
         forwarded. Forwarded is a share of all requests: by the gateway's own counter, and by the reads that the kernel saw away \
         from their home.",
    );
    trials.outcome(method, figures, ("Bounded load, 1.25", "share of all requests, %", Unit::Share))
}
