//! Runs one scenario: resets counters, applies load, reads all witnesses.

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::generator::{Generator, NoReport};
use lab::http::Client;
use lab::ports::{Ports, SHARDS, url};
use lab::process::Log;
use lab::tree::Tree;
use lab::{Lab, signals};
use protocol::body::{CacheChange, GatewayCounts, LoadReport, ShardStats};
use protocol::probe_api::{Comparison, OfShard, ShardCounts};
use serde_json::json;

use super::Scenario;
use super::witness::{Kernel, Reading, ScenarioOutcome};
use crate::native_lab;
use crate::probe_client::ProbeClient;
use crate::terminal::{Progress, bar};

/// Interval between readings while waiting for the counters to stop.
const STEP: Duration = Duration::from_millis(100);

/// Number of equal readings in a row that count as stopped.
const STILL: u32 = 4;

/// Maximum time until the counters stop after the load. It is longer than any call in the lab.
const QUIET_WITHIN: Duration = Duration::from_secs(15);

/// Maximum time for the probe's comparison to reach the final counts.
const COMPARED_WITHIN: Duration = Duration::from_secs(10);

/// Maximum extra time of a load run for its start, its last answers and its calculations.
const LOAD_AIR: Duration = Duration::from_secs(60);

/// Reads of each key, counted by the kernel.
type KeyReadsByName = HashMap<String, u64>;

/// Number of keys requested per shard. It exceeds the number of keys in a scenario.
const KEYS: u32 = 10_000;

/// Maximum attempts for a scenario when the generator could not keep its rate.
const ATTEMPTS: u32 = 3;

/// The running lab with its clients.
pub(crate) struct Stage<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) ports: Ports,
    pub(crate) client: &'a Client,
    /// Client of the probe, if the probe runs.
    pub(crate) probe: Option<ProbeClient>,
    pub(crate) seconds: u32,
}

/// Several equal readings in a row.
///
/// Requests to `/stats` increase the byte counts meanwhile. The last reading before a load and the first one after it
/// include the fewest of these bytes.
struct Still {
    first: Reading,
    last: Reading,
    readings: u32,
}

impl Stage<'_> {
    /// Runs `scenario` and combines the witnesses' counts.
    ///
    /// # Errors
    /// When the lab fails, the generator returns no report, or the counters do not stop.
    pub(crate) fn run(&self, lab: &mut Lab, scenario: &Scenario) -> Result<ScenarioOutcome> {
        let (before, keys_before, load) = self.loaded(lab, scenario)?;
        let after = self.settle(lab)?.first;
        let compare = self.compare(lab)?;
        let mut outcome = ScenarioOutcome::new(scenario.name, load, &before, &after, compare);
        if let (Some(before), Some(after)) = (keys_before, self.keys()?) {
            outcome.kernel_hottest = outcome.load.hottest_key.as_ref().map(|hottest| {
                let reads = |keys: &KeyReadsByName| keys.get(&hottest.key).copied().unwrap_or(0);
                reads(&after).saturating_sub(reads(&before))
            });
        }
        Ok(outcome)
    }

    /// Returns the counters and the kernel's reads by key before the load, and the load's report. Resets and repeats
    /// the run if the machine was too busy.
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
                Err(error) if attempt < ATTEMPTS && is_busy(&error) => {
                    println!("  {}: the machine was too busy for this rate; trying again", scenario.name);
                }
                Err(error) => return Err(error),
            }
        }
        bail!("no attempt was made")
    }

    fn reset(&self) -> Result<()> {
        let gateway = url(self.ports.gateway());
        self.client.post(
            &format!("{gateway}/admin/cache"),
            &CacheChange { enabled: Some(false), ttl_seconds: None },
        )?;
        self.client.post(&format!("{gateway}/admin/reset"), &json!({}))?;
        for id in 0..SHARDS {
            self.client.post(&format!("{}/admin/reset", url(self.ports.shard(id))), &json!({}))?;
        }
        Ok(())
    }

    /// Reads all counters until the requests stop changing and no request is in flight.
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
            .with_context(|| format!("the counters still change {} s after the load", QUIET_WITHIN.as_secs()))
    }

    /// Returns all counters, and the number of requests in flight in the shards.
    fn read(&self) -> Result<(Reading, u64)> {
        let (mut app, mut active) = (Vec::new(), 0);
        for id in 0..SHARDS {
            let stats: ShardStats = self.client.get(&format!("{}/stats", url(self.ports.shard(id))))?;
            app.push(stats.requests_received);
            active += stats.active_requests;
        }
        let kernel = self.probe.as_ref().map(|probe| probe.shards().map(|shards| by_shard(&shards)));
        Ok((Reading { app, kernel: kernel.transpose()? }, active))
    }

    /// The kernel's reads by key, summed over all shards. `None` without the probe.
    fn keys(&self) -> Result<Option<KeyReadsByName>> {
        let Some(probe) = &self.probe else { return Ok(None) };
        let mut reads = HashMap::new();
        for key in probe.keys(KEYS)? {
            *reads.entry(key.key).or_default() += key.requests;
        }
        Ok(Some(reads))
    }

    fn load(&self, lab: &mut Lab, scenario: &Scenario) -> Result<LoadReport> {
        let mut command = Command::new(self.tree.release_binary("load"));
        command
            .args(["run", scenario.name, "--gateway", &url(self.ports.gateway())])
            .args(["--duration", &self.seconds.to_string()]);
        let log = native_lab::logs(self.tree, self.ports).join(format!("load-{}.log", scenario.name));
        let mut load = Generator::start(command, Log::at(log)?)?;
        let planned = Duration::from_secs(u64::from(self.seconds));
        let mut progress = Progress::new();
        let mut requested = Instant::now();
        let mut requests = 0;
        let ended = signals::poll(planned + LOAD_AIR, Duration::from_millis(50), || {
            lab.check()?;
            // This interval keeps the load of these requests negligible.
            if requested.elapsed() >= Duration::from_millis(500) {
                requested = Instant::now();
                requests = self.gateway_requests().unwrap_or(requests);
            }
            progress.show(&self.running(scenario, progress.elapsed(), planned, requests));
            Ok(load.ended())
        })?;
        drop(progress);
        match ended {
            Some(report) => Ok(report?),
            None => {
                bail!("the load generator did not end within {} s after its planned end", LOAD_AIR.as_secs())
            }
        }
    }

    fn gateway_requests(&self) -> Option<u64> {
        let stats: Result<GatewayCounts> = self.client.get(&format!("{}/stats", url(self.ports.gateway())));
        stats.ok().map(|stats| stats.total_requests)
    }

    /// Returns the probe's comparison once all shards agree, or the last one after the timeout. `None` without the
    /// probe.
    fn compare(&self, lab: &mut Lab) -> Result<Option<Vec<OfShard<Comparison>>>> {
        let Some(probe) = &self.probe else { return Ok(None) };
        let mut last = Vec::new();
        signals::poll(COMPARED_WITHIN, STEP, || {
            lab.check()?;
            last = probe.compare()?;
            Ok(last.iter().all(|row| row.of_shard.agrees == Some(true)).then_some(()))
        })?;
        Ok(Some(last))
    }

    /// The progress line during the load, with the live page's address.
    fn running(&self, scenario: &Scenario, elapsed: Duration, planned: Duration, requests: u64) -> String {
        let share = elapsed.as_secs_f64() / planned.as_secs_f64();
        let (seconds, planned) = (elapsed.as_secs().min(planned.as_secs()), planned.as_secs());
        let page = match &self.probe {
            Some(_) => format!("  live: {}/", url(self.ports.probe())),
            None => String::new(),
        };
        format!("{} {} {seconds}/{planned} s  {requests} requests{page}", scenario.name, bar(share, 20))
    }
}

/// Whether the generator could not keep its rate on this machine.
fn is_busy(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(NoReport::is_busy_machine)
}

/// The kernel's counts ordered by shard id. 0 for an id that is not in `shards`.
fn by_shard(shards: &[ShardCounts]) -> Vec<Kernel> {
    let mut all = vec![Kernel::default(); usize::from(SHARDS)];
    for shard in shards {
        if let Some(slot) = all.get_mut(shard.shard_id as usize) {
            *slot = Kernel {
                requests: shard.data(),
                payload_bytes_received: shard.payload_bytes.receive,
                payload_bytes_transmitted: shard.payload_bytes.transmit,
            };
        }
    }
    all
}
