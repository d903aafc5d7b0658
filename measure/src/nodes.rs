//! Measures `probe aggregate` with many simulated probes.
//!
//! One process answers as all probes and as the gateway. At the end the aggregator's counts must equal those answered.

use anyhow::{Context as _, Result, ensure};
use lab::http::Client;
use lab::process::{Log, Process};
use lab::signals::{pause, poll};
use protocol::probe_api::{ProbeStatus, Shards};
use std::path::Path;
use std::process::{Command, id};
use std::time::{Duration, Instant};

use self::simulated::{Cluster, Counts, Round};
use crate::machine::{OWN, cpu_seconds, describe};
use crate::statistics::Quartiles;
use crate::table::{Table, thousands};

mod simulated;

const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the counts grow before the measurement, and rest after it. The aggregator reads several times meanwhile.
const SETTLE: Duration = Duration::from_secs(5);

/// Interval of `/metrics`, as in the lab's Prometheus configuration.
const SCRAPE: u64 = 15;

const HEADINGS: [&str; 11] = [
    "probes",
    "shards",
    "CPU of a probe, µs/s",
    "CPU, of a core",
    "memory, MiB",
    "read, kB/s",
    "a reading, median / max, ms",
    "seconds missed",
    "`/metrics`, kB",
    "`/metrics`, median / max, ms",
    "simulator, of a core",
];

/// What was measured.
#[derive(Clone, Debug)]
pub struct NodesReport {
    /// A table in Markdown.
    pub text: String,
    /// Counts that are not those answered, and probes that did not answer in time.
    pub wrong: Vec<String>,
}

/// Parses the numbers of probes and shards of a row.
///
/// # Errors
/// The allowed numbers.
pub fn size(text: &str) -> Result<(u32, u32), String> {
    let numbers = text.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    let allowed = numbers.filter(|(probes, shards)| {
        (1..=1_024).contains(probes) && (1..=1_024_u32.min(64 * probes)).contains(shards)
    });
    allowed.ok_or_else(|| "PROBES:SHARDS, each up to 1024, at most 64 shards a probe".to_owned())
}

/// Runs the aggregator at `probe` for `seconds` with each number of probes and shards.
///
/// # Errors
/// When it does not start, or stops answering.
pub fn run(probe: &Path, sizes: &[(u32, u32)], seconds: u64) -> Result<NodesReport> {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for &(nodes, shards) in sizes {
        eprintln!("  {nodes} probes, {shards} shards");
        rows.push(row(probe, (nodes, shards), seconds, &mut wrong)?);
    }
    let table = Table { headings: &HEADINGS, numbers: 0..HEADINGS.len(), rows };
    Ok(NodesReport { text: format!("{}\n\n{}", describe(), table.markdown()), wrong })
}

fn row(
    probe: &Path,
    (nodes, shards): (u32, u32),
    length: u64,
    wrong: &mut Vec<String>,
) -> Result<Vec<String>> {
    let (cluster, _runtime) = Cluster::start(nodes, shards)?;
    let mut command = Command::new(probe);
    command
        .arg("aggregate")
        .env_clear()
        .envs([("PORT", "0"), ("LOG_FORMAT", "json")])
        .envs(cluster.settings());
    let mut aggregator = Process::start("the aggregator", command, Log::unnamed()?)?;
    let address = poll(START_TIMEOUT, SETTLE / 50, || Ok(aggregator.reported_address()))?;
    let url = format!("http://{}", address.with_context(|| aggregator.last_words())?);
    let (client, pid) = (Client::default(), aggregator.pid());
    let known = poll(START_TIMEOUT, SETTLE / 10, || {
        let found = client.get::<ProbeStatus>(&format!("{url}/status"))?.nodes.unwrap_or_default();
        let read = found.iter().filter(|node| node.node.is_some() && node.problem.is_none()).count();
        Ok((read == nodes as usize).then_some(()))
    })?;
    known.context("the aggregator has not read all probes")?;
    // A probe's first report adds nothing, so the counts grow only from now on.
    cluster.grow(true);
    pause(SETTLE);

    let cpu = || [pid, id()].map(|pid| cpu_seconds(pid, OWN));
    let (begin, before, bytes) = (Instant::now(), cpu(), cluster.bytes());
    let (mut resident, mut scrape_bytes, mut scrapes) = (0, 0, Vec::new());
    for second in 1..=length {
        pause((begin + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        resident = resident.max(aggregator.resident_bytes().unwrap_or(0));
        if second % SCRAPE == 1 {
            let asked = Instant::now();
            scrape_bytes = client.text(&format!("{url}/metrics"))?.len();
            scrapes.push(milliseconds(asked.elapsed()));
        }
    }
    let (end, after, bytes) = (Instant::now(), cpu(), cluster.bytes() - bytes);
    let [own, simulator] = [0, 1].map(|at| (after[at] - before[at]) / (end - begin).as_secs_f64());
    cluster.grow(false);
    pause(SETTLE);

    let rounds = cluster.rounds().into_iter().filter(|round| (begin..end).contains(&round.begin));
    let rounds: Vec<Round> = rounds.collect();
    let spans = Quartiles::of(rounds.iter().map(|round| milliseconds(round.span()))).context("no reading")?;
    let scrapes = Quartiles::of(scrapes).context("no scrape")?;
    wrong.extend(differences(&cluster, &client.get(&format!("{url}/api/shards"))?)?);
    let silent = aggregator.log().matches("does not answer").count();
    wrong.extend((silent > 0).then(|| format!("{silent} of {nodes} probes did not answer in time")));
    ensure!(aggregator.is_running(), "the aggregator has ended; {}", aggregator.last_words());
    Ok(vec![
        thousands(nodes.into()),
        thousands(shards.into()),
        format!("{:.0}", own / f64::from(nodes) * 1e6),
        format!("{:.1} %", own * 100.0),
        (resident >> 20).to_string(),
        thousands(bytes / length / 1_000),
        format!("{:.0} / {:.0}", spans.median, spans.max),
        format!("{} of {length}", missed(&rounds, 2 * nodes)),
        thousands(scrape_bytes as u64 / 1_000),
        format!("{:.0} / {:.0}", scrapes.median, scrapes.max),
        format!("{:.1} %", simulator * 100.0),
    ])
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Seconds without a whole reading: those between two distant readings, and readings that lack an answer or take longer
/// than a second.
fn missed(rounds: &[Round], answers: u32) -> u64 {
    let gaps = rounds.iter().zip(rounds.iter().skip(1)).map(|(one, next)| next.begin - one.begin);
    let skipped = gaps.map(|gap| (gap + Duration::from_millis(500)).as_secs().saturating_sub(1));
    let late = rounds.iter().filter(|round| round.answers < answers || round.span() > Duration::from_secs(1));
    skipped.sum::<u64>() + late.count() as u64
}

/// Where the aggregator's counts are not those answered.
fn differences(cluster: &Cluster, found: &Shards) -> Result<Vec<String>> {
    let answered = cluster.grown();
    ensure!(found.shards.len() == answered.len(), "the aggregator has {} shards", found.shards.len());
    ensure!(answered.iter().all(|counts| counts.get > 0), "a shard was never read");
    let differing = found.shards.iter().zip(answered).filter_map(|(shard, answered)| {
        let hottest = shard.top_keys.as_ref().and_then(|keys| keys.first()).map_or(0, |key| key.requests);
        let counted = Counts { get: shard.requests.get, set: shard.requests.set, hottest };
        let id = shard.shard_id;
        (counted != answered).then(|| format!("shard {id}: {counted:?}, and answered were {answered:?}"))
    });
    Ok(differing.collect())
}
