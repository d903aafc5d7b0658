//! Collects the verdicts of all gateways and of the aggregator while a row disturbs the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use lab::http::Client;
use lab::{command, signals};
use protocol::probe_api::{Compare, Verdicts as OfShards};
use protocol::verdict::{State, Verdict};
use serde::Deserialize;

use super::cluster::Cluster;
use super::lab::{GATEWAY_PORT, PROBE_PORT};
use super::namespace::within;
use super::network;
use super::outage::Read;
use super::pods::{self, Pod};

/// Time between two rounds.
const STEP: Duration = Duration::from_millis(500);

/// Rounds with the same list of pods.
const ROUNDS: u32 = 3;

/// The pods that judge, by label. Those that are not ready count as well, because they are scraped.
const JUDGES: &str = "app.kubernetes.io/component in (gateway,probe-aggregator)";

/// A shard may be called down for this long after its key has failed: the detector forgets a failure after 10 s.
const REMEMBERED: Duration = Duration::from_secs(13);

/// A verdict as given.
#[derive(Debug, Clone)]
struct Given {
    at: Instant,
    by: String,
    verdict: Verdict<String>,
    /// Why the aggregator cannot compare a shard that is down, and on which node.
    why: String,
}

#[derive(Deserialize)]
struct OfGateway {
    verdict: Verdict<String>,
}

/// A thread that asks for verdicts again and again.
#[derive(Debug)]
pub(crate) struct VerdictLog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Given>>>,
}

/// The verdicts of one disturbance.
#[derive(Debug)]
pub(crate) struct Judged {
    given: Vec<Given>,
}

impl VerdictLog {
    /// Starts to ask.
    ///
    /// # Errors
    /// When the cluster is not up.
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let (stop, kubectl) = (Arc::new(AtomicBool::new(false)), cluster.commands()?);
        let is_stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (mut given, mut found, mut round) = (Vec::new(), Vec::new(), 0);
            while !is_stopped.load(Ordering::Relaxed) && signals::received() == 0 {
                let started = Instant::now();
                if round % ROUNDS == 0
                    && let Ok(list) =
                        command::capture(kubectl().args(["get", "pods", "-A", "-ojson", "-l", JUDGES]))
                    && let Ok(pods) = pods::parse(&list)
                {
                    found = pods;
                }
                round += 1;
                given.extend(found.iter().filter_map(ask));
                signals::pause(STEP.saturating_sub(started.elapsed()));
            }
            given
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops, and returns what was said.
    ///
    /// # Errors
    /// When the thread panicked.
    pub(crate) fn stop(mut self) -> Result<Judged> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().ok_or_else(|| anyhow!("it is stopped once"))?;
        let given = thread.join().map_err(|_| anyhow!("the thread that collects verdicts panicked"))?;
        Ok(Judged { given })
    }
}

impl Drop for VerdictLog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The verdict of a pod. A pod that does not answer gives none.
fn ask(pod: &Pod) -> Option<Given> {
    let client = Client::default();
    let (is_gateway, address) = (pod.name.starts_with("gateway"), &pod.address);
    let given = within(&network::file(&pod.node), || {
        if is_gateway {
            let url = format!("http://{address}:{GATEWAY_PORT}/stats");
            return Ok(Some((client.get::<OfGateway>(&url)?.verdict, String::new())));
        }
        let url = |path| format!("http://{address}:{PROBE_PORT}{path}");
        let Some(verdict) = client.get::<OfShards>(&url("/api/verdict"))?.kernel else { return Ok(None) };
        let compared: Option<Compare> =
            if verdict.down.is_empty() { None } else { Some(client.get(&url("/api/compare"))?) };
        let causes = verdict.down.iter().filter_map(|shard| {
            let of_shard = &compared.as_ref()?.shards.get(*shard)?.of_shard;
            Some(format!("{}: {}", of_shard.node.as_deref()?, of_shard.cause.as_deref()?))
        });
        let why = causes.collect::<Vec<_>>().join(", ");
        Ok(Some((verdict, why)))
    });
    let (verdict, why) = given.ok()??;
    Some(Given { at: Instant::now(), by: pod.name.clone(), verdict, why })
}

impl Judged {
    /// The number of verdicts.
    pub(crate) fn count(&self) -> usize {
        self.given.len()
    }

    /// The false ones, when each shard's key in `keys` was read equally often: a shard that is called down although its
    /// key did not fail, and any hot shard.
    pub(crate) fn false_ones(&self, keys: &[Read]) -> Vec<String> {
        let mut found = Vec::new();
        for Given { at, by, verdict, why } in &self.given {
            let failed = |shard: &usize| {
                let outages = keys.get(*shard).map(|key| key.outages.as_slice()).unwrap_or_default();
                outages.iter().any(|outage| outage.start <= *at && *at <= outage.end + REMEMBERED)
            };
            if !verdict.down.iter().all(failed) || verdict.state >= State::Hot {
                found.push(format!("FALSE by {by}: {} {why}", verdict.sentence));
            }
        }
        found
    }

    /// How often a shard was called down.
    pub(crate) fn down(&self) -> usize {
        self.given.iter().filter(|given| !given.verdict.down.is_empty()).count()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster_test::outage::Outage;

    #[test]
    fn a_shard_that_is_down_while_its_key_answers_is_a_false_verdict() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let given = |seconds, state: &str, down: &[usize]| Given {
            at: at(seconds),
            by: format!("gateway-{seconds}"),
            why: String::new(),
            verdict: serde_json::from_value(json!({
                "state": state, "requests": 1, "window_seconds": 10.0, "sentence": "s", "down": down,
            }))
            .unwrap(),
        };
        let outage = Outage { start: at(5), end: at(7) };
        let keys = [Read::default(), Read { outages: vec![outage], ..Read::default() }];
        let judged = Judged {
            given: vec![
                given(4, "warm", &[1]),
                given(6, "warm", &[1]),
                given(19, "warm", &[1]),
                given(21, "warm", &[1]),
                given(22, "balanced", &[]),
                given(23, "warm", &[0]),
                given(24, "critical", &[]),
            ],
        };
        let false_ones = judged.false_ones(&keys);
        let named: Vec<&str> = false_ones.iter().filter_map(|one| one.split([' ', ':']).nth(2)).collect();
        assert_eq!(named, ["gateway-4", "gateway-21", "gateway-23", "gateway-24"]);
        assert_eq!((judged.count(), judged.down()), (7, 5));
    }
}
