//! One scenario under mitigations, with faults.

use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use fastrand::Rng;
use load::scenario::Scenario;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::sleep;

use super::resources::Targets;
use crate::faults::fault::Fault;
use crate::faults::stage::Stage;

/// The faults of the rounds: all that leave gateway and probe alive, as their memory is watched from start to end.
const FAULTS: [Fault; 15] = [
    Fault::Killed,
    Fault::Frozen,
    Fault::Slow,
    Fault::Garbage,
    Fault::HalfAnAnswer,
    Fault::ResetInMidAnswer,
    Fault::Huge,
    Fault::Mute,
    Fault::CloseAfter,
    Fault::WrongKey,
    Fault::ShardDrained,
    Fault::ProbeFrozen,
    Fault::ScraperGone,
    Fault::UnfinishedBodies,
    Fault::SlowReaders,
];

const CACHES: [&str; 3] = ["off", "all", "hot_only"];

/// Seconds of load, in the warm-up and later.
const WARM_UP: u32 = 20;
const LATER: u32 = 40;

/// The scenarios' rates are multiplied by it.
const RATE_FACTOR: &str = "2";

/// Seconds of a scan in the warm-up: time for all of its keys, so that every table of keys reaches its size.
const WHOLE_SCAN: u32 = 65;

/// A scenario and its mitigations.
#[derive(Debug)]
pub(super) struct Round {
    scenario: Scenario,
    cache: &'static str,
    replication: u32,
    stale: bool,
    is_warm_up: bool,
}

impl Round {
    /// A round of the warm-up. The first nine have all scenarios and all cache modes; 27 have all their pairs. Each nine
    /// begin with the scan, because the warm-up may end before the last of 27.
    pub(super) fn of_warm_up(number: usize) -> Self {
        let mut scenarios = scenarios();
        scenarios.sort_by_key(|scenario| *scenario != Scenario::Scan);
        let turn = number / scenarios.len();
        Self {
            scenario: scenarios[number % scenarios.len()],
            cache: CACHES[(number + turn) % CACHES.len()],
            replication: [1, 4][number % 2],
            stale: number % 4 < 2,
            is_warm_up: true,
        }
    }

    pub(super) fn random(rng: &mut Rng) -> Self {
        let scenarios = scenarios();
        Self {
            scenario: scenarios[rng.usize(..scenarios.len())],
            cache: CACHES[rng.usize(..CACHES.len())],
            replication: [1, 1, 4][rng.usize(..3)],
            stale: rng.bool(),
            is_warm_up: false,
        }
    }

    /// Runs the load and adds each fault to `faults`. Returns a description.
    pub(super) async fn run(
        &self,
        stage: &mut Stage,
        targets: &Targets,
        rng: &mut Rng,
        faults: &mut BTreeMap<String, u32>,
    ) -> Result<String> {
        let Self { cache, replication, stale, .. } = self;
        stage
            .mitigate(&json!({
                "cache": cache, "replication": replication, "stale_while_revalidate": stale, "ttl_seconds": 5,
            }))
            .await?;
        let scenario = self.scenario.to_possible_value().context("a name")?;
        let scenario = scenario.get_name();
        let seconds = match (self.is_warm_up, self.scenario) {
            (true, Scenario::Scan) => WHOLE_SCAN,
            (true, _) => WARM_UP,
            (false, _) => LATER,
        };
        let (duration, seed) = (seconds.to_string(), rng.u32(..).to_string());
        let arguments =
            ["run", scenario, "--rate-factor", RATE_FACTOR, "--duration", &duration, "--seed", &seed];
        let (load, begin) = (stage.lab.load_started(&arguments), Instant::now());
        let last = Duration::from_secs(u64::from(seconds)) * 3 / 4;
        let mut names = Vec::new();
        loop {
            sleep(Duration::from_millis(rng.u64(1_000..8_000))).await;
            if begin.elapsed() > last {
                break;
            }
            let fault = self.next_fault(rng, faults);
            *faults.entry(fault.name()).or_default() += 1;
            names.push(fault.name());
            fault.begin(stage).await?;
            sleep(Duration::from_millis(rng.u64(500..8_000))).await;
            fault.end(stage).await?;
            targets.set(&stage.lab)?;
        }
        // The generator refuses to report figures of a disturbed run; the other witnesses count all the same.
        load.ended().await;
        Ok(format!("{scenario}, cache {cache}, {replication} replicas, {}", names.join(" ")))
    }

    /// A random fault. In the warm-up all have their turns.
    fn next_fault(&self, rng: &mut Rng, faults: &BTreeMap<String, u32>) -> Fault {
        let so_far = faults.values().sum::<u32>() as usize;
        let random = rng.usize(..FAULTS.len());
        FAULTS[if self.is_warm_up { so_far % FAULTS.len() } else { random }]
    }
}

/// All but `celebrity-404`, which needs shards with other settings.
fn scenarios() -> Vec<Scenario> {
    let all = Scenario::value_variants().iter().copied();
    all.filter(|scenario| scenario.absent_key().is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::{RATE_FACTOR, Round, WHOLE_SCAN};
    use load::keys::Distribution;
    use load::scenario::Scenario;
    use std::collections::BTreeSet;

    #[test]
    fn the_warm_up_goes_through_all_pairs() {
        let pairs = |rounds| {
            let rounds = (0..rounds).map(Round::of_warm_up);
            rounds.map(|round| (format!("{:?}", round.scenario), round.cache)).collect::<BTreeSet<_>>()
        };
        let first = pairs(9);
        assert_eq!(first.iter().map(|(scenario, _)| scenario).collect::<BTreeSet<_>>().len(), 9);
        assert_eq!(first.iter().map(|(_, cache)| cache).collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(pairs(27).len(), 27);
        let scans = [0, 9, 18].map(|number| Round::of_warm_up(number).scenario);
        assert_eq!(scans, [Scenario::Scan; 3]);
    }

    #[test]
    fn a_scan_of_the_warm_up_reads_every_key() {
        let streams = Scenario::Scan.streams(RATE_FACTOR.parse().unwrap()).unwrap();
        for stream in streams.iter().filter(|stream| stream.keys.law() == Distribution::InTurn) {
            let keys = f64::from(u32::try_from(stream.keys.keys().len()).unwrap());
            assert!(keys <= stream.rate * f64::from(WHOLE_SCAN), "{keys} keys at {} a second", stream.rate);
        }
    }
}
