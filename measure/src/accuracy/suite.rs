//! Runs the suite: prepares the rows, starts the probe, runs each row and judges it.

use anyhow::{Context, Result, bail};
use protocol::probe_api::{Comparison, ShardCounts};
use std::path::Path;
use std::time::{Duration, Instant};

use super::case::{Case, Row, Size, WorkloadResult};
use super::keys::{self, KeyCounts};
use super::namespace::Pairs;
use super::probe::{Probe, Stage};
use super::report::{AccuracyReport, Line};
use super::rows;
use super::rule::{RowVerdict, Rule};
use super::server::{Counts, Server};

/// The rows to run, and how.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The size of the run.
    pub size: Size,
    /// Only rows whose name contains this.
    pub row: Option<&'a str>,
    /// The probe's program.
    pub probe: &'a Path,
}

/// Largest number of servers that one probe watches.
const SHARDS: usize = 64;

/// A row that starts its probes itself.
type Alone = fn(&Stage, Size) -> Result<Line>;

/// Longest wait for a reading at rest that satisfies the row's rule.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for equal counts at rest, if the rule allows a difference.
const SETTLES: Duration = Duration::from_millis(500);

/// A row that is ready to run.
struct Ready {
    name: String,
    case: Case,
    /// The server's counts before the probe attached.
    before: Counts,
    /// The same by key.
    keys_before: KeyCounts,
}

/// A row that has run.
struct Run {
    name: String,
    server: Server,
    rule: Rule,
    outcome: Result<Measured>,
    bytes: bool,
    settles: bool,
}

struct Measured {
    driven: WorkloadResult,
    truth: Counts,
    counted: ShardCounts,
    /// Errors in reads by key or in latencies.
    wrong: Option<String>,
}

impl Measured {
    /// Compares the reads by key, and the latencies. An extra read of a key is an error if the rule allows no extra
    /// request.
    fn checked(
        mut self,
        probe: &Probe<'_>,
        index: usize,
        server: &Server,
        before: &KeyCounts,
    ) -> Result<Self> {
        let mut truth = server.keys();
        for (key, count) in before {
            if let Some(all) = truth.get_mut(key) {
                *all -= count;
            }
        }
        truth.retain(|_, count| *count > 0);
        if self.counted.requests.get > self.truth.get {
            return Ok(self);
        }
        let table = probe.keys(index)?;
        match keys::compare(&truth, &table, self.counted.requests.get == self.truth.get) {
            Ok(None) => {}
            Ok(Some(note)) if self.driven.note.is_empty() => self.driven.note = note,
            Ok(Some(note)) => self.driven.note = format!("{}; {note}", self.driven.note),
            Err(wrong) => self.wrong = Some(wrong),
        }
        for (key, sent) in &self.driven.exact_keys {
            let counted = table.keys.get(key).map_or(0, |(requests, _)| *requests);
            if counted != *sent {
                let wrong = format!("key {key:?}: {counted} counted, {sent} sent, which must be exact");
                self.wrong.get_or_insert(wrong);
            }
        }
        if let Some((answers, least)) = self.driven.slow_answers {
            let slow = probe.answers_slower_than(index, least)?;
            if slow != answers {
                let wrong = format!(
                    "{slow} answers were measured at {least} ms or more, of {answers} that took so long"
                );
                self.wrong.get_or_insert(wrong);
            }
        }
        Ok(self)
    }
}

/// Runs the rows. Calls `progress` with the name of each row and its duration in seconds.
///
/// # Errors
/// When there is no such row, or the probe does not answer. A row that cannot run is a line of the report.
pub fn run(options: &Options<'_>, progress: impl Fn(&str, f64)) -> Result<AccuracyReport> {
    let start = Instant::now();
    let _removed_at_the_end = Pairs;
    let wanted = |name: &str| options.row.is_none_or(|part| name.contains(part));
    let mut lines = Vec::new();
    let mut ready = Vec::new();
    for Row { name, prepare } in rows::all(options.size).into_iter().filter(|row| wanted(&row.name)) {
        match prepare(options.size) {
            Ok(case) => {
                let (before, keys_before) = (case.server.counts(), case.server.keys());
                ready.push(Ready { name, case, before, keys_before });
            }
            Err(error) => lines.push(Line::not_run(&name, &error)),
        }
    }
    // Rows with probes of their own.
    let alone: [(&str, Alone); 3] = [
        (rows::restart::NAME, rows::restart::run),
        (rows::restart_pinned::NAME, rows::restart_pinned::run),
        (rows::forged::NAME, rows::forged::run),
    ];
    let alone: Vec<_> = alone.into_iter().filter(|(name, _)| wanted(name)).collect();
    if ready.is_empty() && lines.is_empty() && alone.is_empty() {
        bail!("no row has {:?} in its name", options.row.unwrap_or_default());
    }
    let stage = Stage::new(options.probe)?;
    while !ready.is_empty() {
        let rows = ready.drain(..ready.len().min(SHARDS)).collect();
        lines.extend(under_one_probe(&stage, rows, &progress)?);
    }
    for (name, run) in alone {
        let start = Instant::now();
        let outcome = run(&stage, options.size);
        progress(name, start.elapsed().as_secs_f64());
        lines.push(outcome.unwrap_or_else(|error| Line::not_run(name, &error)));
    }
    Ok(AccuracyReport { lines, quick: options.size == Size::Quick, seconds: start.elapsed().as_secs_f64() })
}

fn under_one_probe(stage: &Stage, ready: Vec<Ready>, progress: &impl Fn(&str, f64)) -> Result<Vec<Line>> {
    let servers: Vec<Server> = ready.iter().map(|row| row.case.server.clone()).collect();
    let probe = stage.start_probe(&servers.iter().collect::<Vec<_>>());
    let mut runs = Vec::new();
    for (index, Ready { name, case, before, keys_before }) in ready.into_iter().enumerate() {
        let start = Instant::now();
        let Case { server, rule, bytes, settles, drive } = case;
        let outcome = drive(&server)
            .and_then(|driven| measure(stage, &probe, (index, bytes), (&server, rule), &before, driven))
            .and_then(|measured| measured.checked(&probe, index, &server, &keys_before));
        progress(&name, start.elapsed().as_secs_f64());
        runs.push(Run { name, server, rule, outcome, bytes, settles });
    }
    let compared = probe.compared()?;
    let mut lines = Vec::new();
    for (run, compared) in runs.into_iter().zip(compared) {
        lines.extend(judge(run, compared));
    }
    probe.stop();
    Ok(lines)
}

/// Reads both sides at a moment when the server is at rest.
fn measure(
    stage: &Stage,
    probe: &Probe<'_>,
    (index, bytes): (usize, bool),
    (server, rule): (&Server, Rule),
    before: &Counts,
    driven: WorkloadResult,
) -> Result<Measured> {
    let mut last = None;
    let start = Instant::now();
    // The probe's own /stats calls go on, so a reading counts only if the server's counts are the same before and
    // after it. Whether the counts agree decides only how long this waits.
    let settled = stage.until(TIMEOUT, || {
        let then = server.counts();
        let all = probe.counted().map_err(|error| error.to_string())?;
        let counted = all.into_iter().nth(index).ok_or("the probe does not report the server")?;
        if server.counts() != then {
            return Err("the server is not at rest".to_owned());
        }
        let truth = then.since(before);
        let equal = (truth.get, truth.set, truth.control)
            == (counted.requests.get, counted.requests.set, counted.control_requests);
        let passes = (truth.get, truth.set) == (driven.sent.get, driven.sent.set)
            && rule.judge(&truth, &counted, None).passes()
            && (!bytes
                || [bytes_in(&truth, &driven, &counted), bytes_out(&truth, &counted)]
                    .iter()
                    .all(RowVerdict::passes));
        last = Some((truth, counted));
        if passes && (equal || start.elapsed() >= SETTLES) {
            Ok(())
        } else {
            Err("the counts do not satisfy the row's rule".to_owned())
        }
    });
    let (truth, counted) = match (last, settled) {
        (Some(last), _) => last,
        (None, settled) => bail!("no reading: {}", settled.err().unwrap_or_default()),
    };
    let sent = driven.sent;
    if (sent.get, sent.set) != (truth.get, truth.set) {
        bail!("error in the suite: its clients sent {sent:?}, its server counted {truth:?}");
    }
    Ok(Measured { driven, truth, counted, wrong: None })
}

fn bytes_in(truth: &Counts, driven: &WorkloadResult, counted: &ShardCounts) -> RowVerdict {
    Rule::judge_received(
        truth.read,
        driven.repeated_bytes,
        driven.dropped_packets,
        counted.payload_bytes.receive,
    )
}

fn bytes_out(truth: &Counts, counted: &ShardCounts) -> RowVerdict {
    Rule::judge_bytes(truth.written + truth.repeated, counted.payload_bytes.transmit)
}

fn judge(run: Run, Comparison { agrees, bound, .. }: Comparison) -> Vec<Line> {
    let Run { name, server, rule, outcome, bytes, settles } = run;
    let Measured { driven, truth, counted, wrong } =
        match outcome.with_context(|| format!("at {}", server.addr)) {
            Ok(measured) => measured,
            Err(error) => return vec![Line::not_run(&name, &error)],
        };
    let unsettled = (settles && (counted.aborted_requests, bound) != (0, Some(0)))
        .then(|| format!("{} requests aborted, bound {bound:?}", counted.aborted_requests));
    let verdict = wrong.or(unsettled).map_or_else(|| rule.judge(&truth, &counted, agrees), RowVerdict::Wrong);
    let line = |name: String, truth: u64, seen: u64, verdict: RowVerdict, note: String| Line {
        name,
        truth: Some(truth),
        counted: Some(seen),
        unparsed: counted.unparsed_segments(),
        repeats: counted.repeated_requests,
        agrees,
        verdict,
        note,
    };
    if !bytes {
        return vec![line(name, truth.data(), counted.data(), verdict, driven.note)];
    }
    let received = truth.read + driven.repeated_bytes;
    let came_in = bytes_in(&truth, &driven, &counted);
    let sent = truth.written + truth.repeated;
    let overhead = counted.ip_bytes.transmit.saturating_sub(counted.payload_bytes.transmit);
    // IPv4 and TCP headers with timestamps, without SACK, as nearly all packets of such a connection have them.
    let bundles = overhead / 52;
    let sent_note = format!(
        "{} packets in {bundles} calls; {} retransmitted bytes are counted again",
        counted.packets.transmit, truth.repeated
    );
    vec![
        line(format!("{name}: requests"), truth.data(), counted.data(), verdict, driven.note),
        line(format!("{name}: bytes in"), received, counted.payload_bytes.receive, came_in, String::new()),
        line(
            format!("{name}: bytes out"),
            sent,
            counted.payload_bytes.transmit,
            bytes_out(&truth, &counted),
            sent_note,
        ),
    ]
}
