//! The cost of a celebrity for other keys on its shard.
//!
//! It is measured without and with each mitigation.

use protocol::ShardId;
use protocol::body::LoadStream;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

use super::chart::{Chart, Mark};
use super::figure::{Figure, Rule, Unit};
use super::rig::{PROFILE, Rig, nothing};
use super::trials::{Order, Plan, Trials};
use super::{ExperimentOutcome, Table};
use crate::table::thousands;

/// See [`super::Experiment::question`].
pub(crate) const QUESTION: &str = "At the lab's own rates and capacity, how slow are the celebrity and the innocent keys on its shard? What does each \
     mitigation change?";

/// The celebrity's shard.
const HOT: ShardId = ShardId(0);

/// Seconds before the measurement, in which the gateway finds the hot key and makes copies.
const WARM: &str = "5";

/// Returns the measured seconds.
fn measured(plan: Plan) -> &'static str {
    plan.sized("22", "5")
}

/// Returns the minimum number of responses for a 99th percentile, over all repetitions.
fn needed(plan: Plan) -> u64 {
    plan.sized(500, 10)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Arm {
    Nothing,
    Cache,
    Stale,
    HotOnly,
    Replication,
    Auto,
}

const ARMS: [Arm; 6] = [Arm::Nothing, Arm::Cache, Arm::Stale, Arm::HotOnly, Arm::Replication, Arm::Auto];

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Cache => "cache",
            Self::Stale => "cache, stale-while-revalidate",
            Self::HotOnly => "hot-only cache",
            Self::Replication => "replication",
            Self::Auto => "auto",
        })
    }
}

impl Arm {
    fn wish(self) -> Value {
        match self {
            Self::Nothing => nothing(),
            Self::Cache => json!({"cache": "all", "ttl_seconds": 60}),
            Self::Stale => json!({"cache": "all", "ttl_seconds": 60, "stale_while_revalidate": true}),
            Self::HotOnly => json!({"cache": "hot_only", "ttl_seconds": 60}),
            Self::Replication => json!({"replication": 4}),
            Self::Auto => json!({"auto": true}),
        }
    }

    /// Returns the wire contract's limit of the hot shard's p95 over that of the other shards.
    const fn rule(self) -> Rule {
        match self {
            Self::Nothing => Rule::AtLeast(1.3),
            Self::Cache => Rule::AtMost(1.05),
            _ => Rule::Shown,
        }
    }
}

/// A histogram: latencies in µs with their counts.
#[derive(Clone, Debug, Default)]
struct Latencies(BTreeMap<u64, u64>);

impl Latencies {
    /// Adds latencies in ms with their counts.
    fn add(&mut self, histogram: &[(f64, u64)]) {
        for (ms, count) in histogram {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a latency in µs")]
            let micros = (ms * 1_000.0).round() as u64;
            *self.0.entry(micros).or_default() += count;
        }
    }

    fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(micros, count)| *self.0.entry(*micros).or_default() += count);
    }

    fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// Returns the reason if there are too few responses for a percentile.
    fn too_few(&self, needed: u64) -> Option<String> {
        let count = self.count();
        (count < needed).then(|| format!("{count} answers, at least {needed} are needed"))
    }

    /// Returns a quantile in ms, or `None` without responses.
    #[expect(clippy::cast_precision_loss, reason = "latencies in µs, and counts of a run")]
    fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = (quantile * self.count() as f64).ceil();
        let mut below = 0;
        let found = self.0.iter().find(|(_, count)| {
            below += *count;
            below as f64 >= rank
        });
        found.map(|(micros, _)| *micros as f64 / 1_000.0)
    }
}

/// The latencies of one run.
#[derive(Clone, Debug, Default)]
struct Run {
    celebrity: Latencies,
    innocent_hot: Latencies,
    innocent_elsewhere: Latencies,
}

impl Run {
    fn of(streams: &[LoadStream]) -> Self {
        let mut run = Self::default();
        for stream in streams {
            for shard in &stream.shards {
                let latencies = match (stream.name.as_str(), shard.shard_id) {
                    ("celebrity", _) => &mut run.celebrity,
                    (_, HOT) => &mut run.innocent_hot,
                    _ => &mut run.innocent_elsewhere,
                };
                latencies.add(&shard.histogram);
            }
        }
        run
    }

    fn merge(&mut self, other: &Self) {
        self.celebrity.merge(&other.celebrity);
        self.innocent_hot.merge(&other.innocent_hot);
        self.innocent_elsewhere.merge(&other.innocent_elsewhere);
    }

    /// Returns the hot shard's p95, with the celebrity's responses, over the p95 of the other shards.
    fn pain(&self) -> Option<f64> {
        let mut hot = self.celebrity.clone();
        hot.merge(&self.innocent_hot);
        Some(hot.quantile(0.95)? / self.innocent_elsewhere.quantile(0.95)?)
    }
}

async fn measure(rig: &Rig, plan: Plan, arm: Arm, seed: u64) -> Result<Run, String> {
    rig.mitigate(&nothing()).await?;
    rig.reset().await?;
    rig.mitigate(&arm.wish()).await?;
    let run = async |seconds: &str, seed: u64| {
        let seed = seed.to_string();
        rig.load(&["run", "celebrity", "--duration", seconds, "--seed", &seed, "--histograms"]).await
    };
    run(WARM, 2 * seed).await?;
    let report = run(measured(plan), 2 * seed + 1).await?;
    rig.read_at_rest().await?;
    Ok(Run::of(&report.streams))
}

/// Runs the experiment.
pub(crate) async fn run(plan: Plan, progress: &impl Fn(&str)) -> ExperimentOutcome {
    let rigs = Rig::several(&PROFILE, ARMS.len()).await;
    let measure = async |arm: Arm, seed| {
        let place = ARMS.iter().position(|other| *other == arm).unwrap_or_default();
        measure(&rigs[place], plan, arm, seed).await
    };
    let trials = Trials::run(plan, Order::SideBySide, &ARMS, progress, measure).await;
    let (mut figures, mut rows, mut marked) = (Vec::new(), Vec::new(), Vec::new());
    for arm in ARMS {
        let mut all = Run::default();
        trials.of(arm).for_each(|run| all.merge(run));
        let what = format!("{arm}: p95, hot shard over the others");
        let pain = all.pain().into_iter().collect();
        let pain = Figure::new(what, Unit::Times, None, arm.rule()).seen(pain, Vec::new());
        figures.push(pain.refused_if(trials.lacking(arm)));
        for (name, latencies) in [
            ("celebrity", &all.celebrity),
            ("innocent, hot shard", &all.innocent_hot),
            ("innocent, elsewhere", &all.innocent_elsewhere),
        ] {
            let refused = trials.lacking(arm).or_else(|| latencies.too_few(needed(plan)));
            let quantiles = [0.5, 0.95, 0.99].map(|q| latencies.quantile(q).filter(|_| refused.is_none()));
            let what = format!("{arm}: {name}");
            if name != "celebrity" {
                let seen = latencies.quantile(0.99).into_iter().collect();
                let p99 = Figure::new(format!("{what}, p99"), Unit::Milliseconds, None, Rule::Shown);
                figures.push(p99.seen(seen, Vec::new()).refused_if(refused));
            }
            let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.1}"));
            let cells = [what.clone(), thousands(latencies.count())].into_iter();
            rows.push(cells.chain(quantiles.map(cell)).collect());
            let mark = |(series, value): (usize, Option<f64>)| {
                value.map(|value| Mark { series, value, range: (value, value) })
            };
            marked.push((what, quantiles.into_iter().enumerate().filter_map(mark).collect()));
        }
    }
    let chart = Chart {
        title: "Latency of a celebrity and of innocent keys".to_owned(),
        axis: "ms from a request's due time to its answer".to_owned(),
        series: vec!["p50", "p95", "p99"],
        rows: marked,
    };
    let table = Table {
        title: "Latencies".to_owned(),
        headings: vec!["mitigation: whose", "answers", "p50, ms", "p95, ms", "p99, ms"],
        rows,
    };
    let (figures, tables, charts) = (figures, vec![table], vec![chart]);
    ExperimentOutcome { method: method(plan), figures, tables, charts, refusals: trials.refusals }
}

fn method(plan: Plan) -> String {
    format!(
        "`load run celebrity` at the lab's rates (100/s and 30/s) and profile ({} ms, {} at a time), from a cold cache. {WARM} s are \
         left out and {} s measured. All arms run at the same time, each in its own lab, with the same seed; the shards mostly \
         sleep. Latency is the generator's, from when a request was due. The kernel does not see a request's way through the \
         gateway. Percentiles are of all repetitions together. *Innocent* is one of 500 keys, `normal-user-…`, 112 of them on the \
         celebrity's shard. With a cache, the gateway answers the celebrity's requests, and more and more of the innocents'. The \
         bounds, 1.3 without a mitigation and 1.05 with the cache, come from the wire contract. Runs with fewer than {} answers in \
         all are also refused.",
        PROFILE[0].1,
        PROFILE[1].1,
        measured(plan),
        needed(plan)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::body::{LoadStreamShard, Quantiles};

    const NO_LATENCY: Quantiles = Quantiles { p50: None, p95: None, p99: None, max: None };

    #[test]
    fn latencies_of_several_runs_are_one_distribution() {
        let shard = |id, histogram: &[(f64, u64)]| LoadStreamShard {
            shard_id: ShardId(id),
            answered: 0,
            upstream_requests: 0,
            latency_ms: NO_LATENCY,
            histogram: histogram.to_vec(),
        };
        let stream = |name: &str, shards| LoadStream {
            name: name.to_owned(),
            offered_per_second: 0.0,
            sent: 0,
            answered: 0,
            errors: 0,
            latency_ms: NO_LATENCY,
            shards,
        };
        let streams = [
            stream("celebrity", vec![shard(0, &[(1.0, 90), (20.0, 10)])]),
            stream("normal", vec![shard(0, &[(2.0, 1)]), shard(3, &[(4.0, 1)])]),
        ];
        let mut run = Run::of(&streams);
        assert_eq!([0.5, 0.9, 0.95].map(|q| run.celebrity.quantile(q)), [Some(1.0), Some(1.0), Some(20.0)]);
        assert_eq!(run.pain(), Some(5.0));
        run.merge(&Run::of(&streams));
        assert_eq!(
            (run.celebrity.count(), run.innocent_hot.count(), run.innocent_elsewhere.count()),
            (200, 2, 2)
        );
        assert_eq!(Latencies::default().quantile(0.5), None);
        assert_eq!(run.innocent_hot.too_few(3).as_deref(), Some("2 answers, at least 3 are needed"));
        assert_eq!(run.innocent_hot.too_few(2), None);
    }
}
