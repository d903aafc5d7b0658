//! Detection of celebrities: how soon gateway and kernel name one.
//!
//! It also checks that a moving celebrity is followed, and that uniform load raises no alarm.

use hotspot::detector::Detector;
use hotspot::judge::{KeyLoad, Observation, THRESHOLDS};
use hotspot::skew::Skew;
use hotspot::verdict::State;
use load::keys::{Distribution, KeySpace};
use load::scenario::{CELEBRITY, MOVING_CELEBRITIES};
use protocol::ShardId;
use serde_json::Value;
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::ExperimentOutcome;
use super::figure::{Figure, Rule, Unit};
use super::rig::{PROFILE, Rig, report};
use super::trials::{Order, Plan, Trials};
use lab_tests::lab::SHARDS;

/// See [`super::Experiment::question`].
pub(crate) const QUESTION: &str = "Is a celebrity named after its first full second, is a moving one followed, and is uniform load never called hot?";

/// Verdicts come once a second. A celebrity waits for the end of the second in which it starts, and for the next one.
const NAMED_WITHIN: f64 = 2.0;
/// Interval between two polls.
const ASKING: Duration = Duration::from_millis(50);
const SLACK: f64 = 0.25;
/// From this load on, a shard is at least warm.
const WARM: f64 = THRESHOLDS[THRESHOLDS.len() - 1].0;
/// Seconds of uniform load to replay, and requests in each.
const WINDOWS: u64 = 1_000;
const REQUESTS: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Arm {
    Crowd,
    Moving,
    Even,
}

const ARMS: [Arm; 3] = [Arm::Crowd, Arm::Moving, Arm::Even];
/// Seconds of uniform load in a run.
const EVEN: &str = "16";

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crowd => "flash crowd",
            Self::Moving => "moving celebrity",
            Self::Even => "uniform load",
        })
    }
}

impl Arm {
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Crowd => &[CELEBRITY],
            Self::Moving => &MOVING_CELEBRITIES,
            Self::Even => &[],
        }
    }

    /// Returns the scenario and its seconds: 5 s each of quiet, crowd and quiet; 4 s for each celebrity.
    const fn load(self) -> &'static [&'static str] {
        match self {
            Self::Crowd => &["run", "flash-crowd", "--duration", "15"],
            Self::Moving => &["run", "moving-celebrity", "--duration", "16"],
            // Uniform is the default distribution.
            Self::Even => &["stream", "--rate", "1000", "--keys", "1000", "--duration", EVEN],
        }
    }

    /// Returns shard settings with enough capacity. The scenarios use the lab's own settings.
    const fn shard(self) -> &'static [(&'static str, &'static str)] {
        if matches!(self, Self::Even) { &[] } else { &PROFILE }
    }
}

/// The times when a key was first requested and first named.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    came: Option<Instant>,
    by_app: Option<Instant>,
    by_kernel: Option<Instant>,
}

impl Seen {
    fn after(self, named: Option<Instant>) -> Option<f64> {
        Some((named? - self.came?).as_secs_f64())
    }
}

struct Run {
    /// Seconds from each key's first request until it is named, by application and kernel.
    named: [Vec<f64>; 2],
    /// How often a shard was judged warm or worse before any hot key was requested, by application and kernel.
    false_alarms: [f64; 2],
}

/// Whether a verdict names this key as the cause on a critical shard.
fn names(verdict: &Value, key: &str) -> bool {
    verdict["state"] == "critical" && verdict["key"] == key
}

fn is_alarm(verdict: &Value) -> bool {
    ["warm", "hot", "critical"].iter().any(|state| verdict["state"] == *state)
}

async fn measure(rig: &Rig, arm: Arm, seed: u64) -> Result<Run, String> {
    rig.reset().await?;
    let quiet = Instant::now();
    // The kernel's counts have no reset, so this waits until ten seconds have left its windows.
    while is_alarm(&rig.lab.probe_json("/api/verdict").await["kernel"]) {
        if quiet.elapsed() > Duration::from_secs(20) {
            return Err("the kernel's verdict did not settle".to_owned());
        }
        tokio::time::sleep(ASKING).await;
    }
    let seed = seed.to_string();
    let mut load = rig.lab.load_started(&[arm.load(), &["--seed", &seed]].concat());
    let mut seen = vec![Seen::default(); arm.keys().len()];
    let mut false_alarms = [0.0; 2];
    while load.is_running() {
        let stats: Value = rig.lab.json(&rig.lab.at_gateway("/stats")).await;
        let kernel = rig.lab.probe_json("/api/verdict").await["kernel"].clone();
        let now = Instant::now();
        let requested = |key: &str| {
            stats["top_keys"].as_array().is_some_and(|keys| keys.iter().any(|top| top["key"] == key))
        };
        for (key, seen) in arm.keys().iter().zip(&mut seen) {
            seen.came = seen.came.or(requested(key).then_some(now));
            seen.by_app = seen.by_app.or(names(&stats["verdict"], key).then_some(now));
            seen.by_kernel = seen.by_kernel.or(names(&kernel, key).then_some(now));
        }
        if seen.iter().all(|seen| seen.came.is_none()) {
            for (alarms, verdict) in false_alarms.iter_mut().zip([&stats["verdict"], &kernel]) {
                *alarms += f64::from(u8::from(is_alarm(verdict)));
            }
        }
        tokio::time::sleep(ASKING).await;
    }
    report(load).await?;
    let all = |of: fn(&Seen) -> Option<Instant>, who: &str| {
        let named = seen.iter().zip(arm.keys());
        let named =
            named.map(|(seen, key)| seen.after(of(seen)).ok_or_else(|| format!("{who} never named {key}")));
        named.collect::<Result<Vec<f64>, String>>()
    };
    let named =
        [all(|seen| seen.by_app, "the gateway")?, all(|seen| seen.by_kernel, "the kernel's verdict")?];
    Ok(Run { named, false_alarms })
}

/// Returns how many seconds of uniform load end in an alarm, or would with either of the two windows alone.
fn alarms_on_even_load(seed: u64) -> u64 {
    let shards = NonZeroU32::new(SHARDS as u32).expect("there are shards");
    let space = KeySpace::numbered("user-", 1_000, Distribution::Uniform).expect("names are keys");
    let (owners, mut draws) = (space.owners(shards), space.draws(seed));
    let mut last_ten: VecDeque<Vec<u64>> = VecDeque::new();
    let mut detector = Detector::default();
    let mut alarms = 0;
    for _ in 0..WINDOWS {
        let mut counts = vec![0; owners.len()];
        (0..REQUESTS).for_each(|_| counts[draws.draw()] += 1);
        last_ten.push_back(counts.clone());
        if last_ten.len() > 10 {
            last_ten.pop_front();
        }
        let of_ten = |key: usize| last_ten.iter().map(|second| second[key]).sum();
        let windows = [counts, (0..owners.len()).map(of_ten).collect()];
        let [second, ten] = windows.map(|counts: Vec<u64>| observed(&counts, &owners));
        let alone = [&second, &ten].map(|window| Skew::of(&window.requests)).into_iter().flatten();
        let is_alarm = alone.into_iter().any(|skew| skew.lower_bound >= WARM);
        let verdict = detector.observe(&second, &ten);
        alarms += u64::from(is_alarm || verdict.state >= State::Warm);
    }
    alarms
}

/// Returns the observation of one window, with the largest key of each shard.
fn observed(counts: &[u64], owners: &[ShardId]) -> Observation<usize> {
    let mut requests = vec![0; SHARDS];
    let mut largest = [(0, 0); SHARDS];
    for (key, (count, owner)) in counts.iter().zip(owners).enumerate() {
        requests[owner.index()] += *count;
        largest[owner.index()] = largest[owner.index()].max((*count, key));
    }
    let keys = largest.into_iter().enumerate();
    let keys = keys.map(|(shard, (requests, key))| KeyLoad { key, shard, requests }).collect();
    Observation { requests, keys, seconds: 1.0, evidence: Vec::new() }
}

/// Runs the experiment.
pub(crate) async fn run(plan: Plan, progress: &impl Fn(&str)) -> ExperimentOutcome {
    let mut rigs = Vec::new();
    for arm in ARMS {
        // The first rig waits for its turn. The others start beside it.
        rigs.push(Rig::start(arm.shard(), &[], !rigs.is_empty()).await);
    }
    let measure = async |arm: Arm, seed| {
        let place = ARMS.iter().position(|other| *other == arm).unwrap_or_default();
        measure(&rigs[place], arm, seed).await
    };
    let trials = Trials::run(plan, Order::SideBySide, &ARMS, progress, measure).await;
    let mut figures = Vec::new();
    for arm in ARMS {
        for (place, key) in arm.keys().iter().enumerate() {
            let rule = Rule::AtMost(NAMED_WITHIN + SLACK);
            let figure = Figure::new(format!("{arm}: {key} named after"), Unit::Seconds, None, rule);
            figures.push(trials.measured(arm, figure, |run| run.named.each_ref().map(|named| named[place])));
        }
    }
    for (arm, what) in [
        (Arm::Crowd, "flash crowd: false alarms before it comes".to_owned()),
        (Arm::Even, format!("uniform load: false alarms in {EVEN} s")),
    ] {
        let figure = Figure::new(what, Unit::Count, Some(0.0), Rule::AtMost(0.0));
        figures.push(trials.measured(arm, figure, |run| run.false_alarms));
    }
    #[expect(clippy::cast_precision_loss, reason = "at most so many seconds")]
    let replayed = alarms_on_even_load(plan.seed) as f64;
    let what = format!("false alarms in {WINDOWS} s of {REQUESTS} uniform requests each (replayed)");
    figures
        .push(Figure::new(what, Unit::Count, Some(0.0), Rule::AtMost(0.0)).seen(vec![replayed], Vec::new()));
    let method = format!(
        "`load {}` and `load {}` at the lab's rates and profile. `load {}` on shards without a capacity model. All run at the same \
         time, each in its own lab. Every {} ms the gateway (`/stats`) and the probe (`/api/verdict`, kernel counts alone) are read. \
         A key has arrived when the gateway counts it for the first time. It is named when the verdict is `critical` because of it. \
         The gateway judges once a second, so a full second has passed at most {NAMED_WITHIN} s after its arrival; {SLACK} s more \
         are allowed for the reading. Replayed: {WINDOWS} seconds of the same keys on the same shards, judged by the same detector \
         from the last second and the last ten, without a lab. An alarm is a verdict of `warm` or worse. One window alone that \
         would give it counts too, even if it does not last.",
        Arm::Crowd.load().join(" "),
        Arm::Moving.load().join(" "),
        Arm::Even.load().join(" "),
        ASKING.as_millis()
    );
    trials.outcome(method, figures, ("Time until a celebrity is named in the verdict", "s", Unit::Seconds))
}
