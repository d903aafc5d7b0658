//! One scenario against the running lab: reset, load, wait for quiet, read all witnesses.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::json;

use super::Scenario;
use super::witness::{Compared, Kernel, Outcome, Reading};
use crate::load_report::LoadReport;
use crate::native_lab;
use crate::terminal::{Progress, bar};
use lab::Lab;
use lab::http::Client;
use lab::ports::{Ports, SHARDS, url};
use lab::process::{Log, Process};
use lab::tree::Tree;
use lab::{command, signals};

/// How often counters are asked while waiting for them to stand still.
const STEP: Duration = Duration::from_millis(100);

/// How many equal readings in a row mean that they stand still.
const STILL: u32 = 4;

/// How long counters may go on moving after the load has ended: longer than any call in the lab.
const QUIET_WITHIN: Duration = Duration::from_secs(15);

/// How long the probe's comparison may take to see the quiet.
const COMPARED_WITHIN: Duration = Duration::from_secs(10);

/// How much longer than planned a load run may take: its start, its last answers, its arithmetic.
const LOAD_AIR: Duration = Duration::from_secs(60);

/// The kernel's reads by key.
type KeyReadsByName = HashMap<String, u64>;

/// Keys a shard that are asked for: more than the scenarios have.
const KEYS: u32 = 10_000;

/// How often a scenario is tried whose generator could not keep its rate.
const ATTEMPTS: u32 = 3;
/// What the generator says then.
const TOO_BUSY: &str = "this machine is too busy";

/// Where the lab is and what runs in it.
pub(crate) struct Stage<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) ports: Ports,
    pub(crate) client: &'a Client,
    pub(crate) with_probe: bool,
    pub(crate) seconds: u32,
}

/// Readings in a row with the same requests. The bytes grow meanwhile, by the questions to `/stats`: the last one
/// before a run and the first one after it hold the fewest of those.
struct Still {
    first: Reading,
    last: Reading,
    readings: u32,
}

impl Stage<'_> {
    /// Runs `scenario` and puts the witnesses together.
    ///
    /// # Errors
    /// When the lab fails, the generator refuses to report, or the counters do not come to rest.
    pub(crate) fn run(&self, lab: &mut Lab, scenario: &Scenario) -> Result<Outcome> {
        let (before, keys_before, load) = self.loaded(lab, scenario)?;
        let after = self.settle(lab)?.first;
        let compare = if self.with_probe { Some(self.compare(lab)?) } else { None };
        let mut outcome = Outcome::new(scenario.name, load, &before, &after, compare);
        if let (Some(before), Some(after)) = (keys_before, self.keys()?) {
            outcome.kernel_hottest = outcome.load.hottest_key.as_ref().map(|hottest| {
                let reads = |keys: &KeyReadsByName| keys.get(&hottest.key).copied().unwrap_or(0);
                reads(&after).saturating_sub(reads(&before))
            });
        }
        Ok(outcome)
    }

    /// The counters and the kernel's reads by key before the load, and the load's report; once more, from a reset, when
    /// the machine was too busy.
    fn loaded(
        &self,
        lab: &mut Lab,
        scenario: &Scenario,
    ) -> Result<(Reading, Option<KeyReadsByName>, LoadReport)> {
        for attempt in 1.. {
            self.reset()?;
            let before = self.settle(lab)?.last;
            let keys = self.keys()?;
            match self.load(lab, scenario) {
                Ok(load) => return Ok((before, keys, load)),
                Err(error) if attempt < ATTEMPTS && error.to_string().contains(TOO_BUSY) => {
                    println!("  {}: the machine was too busy for the load's rate; once more", scenario.name);
                }
                Err(error) => return Err(error),
            }
        }
        bail!("no attempt was made")
    }

    fn reset(&self) -> Result<()> {
        let gateway = url(self.ports.gateway());
        self.client.post(&format!("{gateway}/admin/cache"), &json!({"enabled": false}))?;
        self.client.post(&format!("{gateway}/admin/reset"), &json!({}))?;
        for id in 0..SHARDS {
            self.client.post(&format!("{}/admin/reset", url(self.ports.shard(id))), &json!({}))?;
        }
        Ok(())
    }

    /// Reads all counters until the requests stand still and none is in a shard.
    fn settle(&self, lab: &mut Lab) -> Result<Still> {
        let mut still: Option<Still> = None;
        let settled = signals::poll(QUIET_WITHIN, STEP, || {
            lab.check()?;
            let (reading, active) = self.read()?;
            still = match still.take() {
                Some(Still { first, readings, .. })
                    if active == 0 && first.requests() == reading.requests() =>
                {
                    Some(Still { first, last: reading, readings: readings + 1 })
                }
                _ => Some(Still { first: reading.clone(), last: reading, readings: 1 }),
            };
            Ok(still.take_if(|still| still.readings >= STILL))
        })?;
        settled
            .with_context(|| format!("the counters still move {} s after the load", QUIET_WITHIN.as_secs()))
    }

    /// All counters, and how many requests the shards are busy with.
    fn read(&self) -> Result<(Reading, u64)> {
        let (mut app, mut active) = (Vec::new(), 0);
        for id in 0..SHARDS {
            let stats: Stats = self.client.get(&format!("{}/stats", url(self.ports.shard(id))))?;
            app.push(stats.requests_received);
            active += stats.active_requests;
        }
        let kernel = if self.with_probe {
            let answer: Probe = self.client.get(&format!("{}/api/shards", url(self.ports.probe())))?;
            Some(answer.by_shard())
        } else {
            None
        };
        Ok((Reading { app, kernel }, active))
    }

    /// The kernel's reads by key, of all shards together; absent without the probe.
    fn keys(&self) -> Result<Option<KeyReadsByName>> {
        if !self.with_probe {
            return Ok(None);
        }
        let answer: ProbeKeys =
            self.client.get(&format!("{}/api/keys?limit={KEYS}", url(self.ports.probe())))?;
        let mut reads = HashMap::new();
        for key in answer.shards.into_iter().flat_map(|shard| shard.keys) {
            *reads.entry(key.key).or_default() += key.requests;
        }
        Ok(Some(reads))
    }

    fn load(&self, lab: &mut Lab, scenario: &Scenario) -> Result<LoadReport> {
        let logs = native_lab::logs(self.tree, self.ports);
        let report = logs.join(format!("load-{}.json", scenario.name));
        let mut command = Command::new(self.tree.release_binary("load"));
        command
            .args(["run", scenario.name, "--gateway", &url(self.ports.gateway())])
            .args(["--duration", &self.seconds.to_string(), "--json"])
            .arg(&report);
        let mut load =
            Process::start("load", command, Log::at(logs.join(format!("load-{}.log", scenario.name)))?)?;
        let planned = Duration::from_secs(u64::from(self.seconds));
        let mut progress = Progress::new();
        let mut asked = Instant::now();
        let mut requests = 0;
        let ended = signals::poll(planned + LOAD_AIR, Duration::from_millis(50), || {
            lab.check()?;
            // Seldom enough to be no load of its own.
            if asked.elapsed() >= Duration::from_millis(500) {
                asked = Instant::now();
                requests = self.gateway_requests().unwrap_or(requests);
            }
            progress.show(&running(scenario, progress.elapsed(), planned, requests));
            Ok(load.ended())
        })?;
        drop(progress);
        let Some(end) = ended else {
            bail!("the load generator did not end {} s after its time", LOAD_AIR.as_secs())
        };
        if !end.success() {
            bail!("the load generator gives no report ({}); {}", command::ended(end), load.last_words());
        }
        read_report(&report)
    }

    fn gateway_requests(&self) -> Option<u64> {
        #[derive(Deserialize)]
        struct Total {
            total_requests: u64,
        }
        let answer: Result<Total> = self.client.get(&format!("{}/stats", url(self.ports.gateway())));
        answer.ok().map(|stats| stats.total_requests)
    }

    /// The probe's comparison, as soon as it agrees everywhere, or as it stands when the time is over.
    fn compare(&self, lab: &mut Lab) -> Result<Vec<Compared>> {
        let address = format!("{}/api/compare", url(self.ports.probe()));
        let mut last = Vec::new();
        signals::poll(COMPARED_WITHIN, STEP, || {
            lab.check()?;
            let answer: Comparison = self.client.get(&address)?;
            let agrees = answer.shards.iter().all(|row| row.agrees == Some(true));
            last = answer.shards;
            Ok(agrees.then_some(()))
        })?;
        Ok(last)
    }
}

fn running(scenario: &Scenario, elapsed: Duration, planned: Duration, requests: u64) -> String {
    let share = elapsed.as_secs_f64() / planned.as_secs_f64();
    let seconds = elapsed.as_secs().min(planned.as_secs());
    format!("{} {} {seconds}/{} s  {requests} requests", scenario.name, bar(share, 30), planned.as_secs())
}

fn read_report(path: &Path) -> Result<LoadReport> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a load report", path.display()))
}

/// What is asked of a shard's `/stats`.
#[derive(Deserialize)]
struct Stats {
    requests_received: u64,
    active_requests: u64,
}

/// The probe's `/api/compare`.
#[derive(Deserialize)]
struct Comparison {
    shards: Vec<Compared>,
}

/// The probe's `/api/keys`.
#[derive(Deserialize)]
struct ProbeKeys {
    shards: Vec<ShardKeys>,
}

#[derive(Deserialize)]
struct ShardKeys {
    keys: Vec<KeyReads>,
}

#[derive(Deserialize)]
struct KeyReads {
    key: String,
    requests: u64,
}

/// The probe's `/api/shards`.
#[derive(Deserialize)]
struct Probe {
    shards: Vec<ProbeShard>,
}

#[derive(Deserialize)]
struct ProbeShard {
    shard_id: usize,
    requests: Requests,
    payload_bytes: Bytes,
}

#[derive(Deserialize)]
struct Requests {
    get: u64,
    set: u64,
}

#[derive(Deserialize)]
struct Bytes {
    receive: u64,
    transmit: u64,
}

impl Probe {
    fn by_shard(&self) -> Vec<Kernel> {
        let mut all = vec![Kernel::default(); usize::from(SHARDS)];
        for shard in &self.shards {
            if let Some(slot) = all.get_mut(shard.shard_id) {
                *slot = Kernel {
                    requests: shard.requests.get + shard.requests.set,
                    payload_bytes_received: shard.payload_bytes.receive,
                    payload_bytes_transmitted: shard.payload_bytes.transmit,
                };
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Comparison, Probe};

    #[test]
    fn the_probes_answers_are_read_by_shard_id() {
        let answer = json!({"taken_at": 1.0, "shards": [
            {"shard_id": 2, "address": "127.0.0.1:9002", "requests": {"get": 5, "set": 2}, "control_requests": 9,
             "payload_bytes": {"receive": 10, "transmit": 20}, "ip_bytes": {"receive": 0, "transmit": 0},
             "packets": {"receive": 0, "transmit": 0}, "unparsed": {}, "repeated_requests": 0}]});
        let probe: Probe = serde_json::from_value(answer).expect("the documented shape");
        let shards = probe.by_shard();
        assert_eq!((shards.len(), shards[2].requests, shards[2].payload_bytes()), (4, 7, 30));
        assert_eq!(shards[0].requests, 0);
    }

    #[test]
    fn an_undecided_comparison_is_read_as_such() {
        let answer = json!({"taken_at": 1.0, "hot_keys": {}, "shards": [
            {"shard_id": 0, "kernel": 1, "app": 1, "difference": 0, "bound": 0, "agrees": null, "cause": "no baseline",
             "since": 1.0}]});
        let comparison: Comparison = serde_json::from_value(answer).expect("the documented shape");
        assert_eq!(comparison.shards[0].agrees, None);
    }
}
