//! One row of the table: runs a fault, and says what was wrong.

use anyhow::Result;
use hotspot::verdict::{Reason, State};
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};
use tokio::time::sleep_until;

use super::fault::Fault;
use super::stage::Stage;
use super::timeline::Timeline;
use super::traffic::{Outcome, Sample, Sent, Traffic};
use super::witness::{Given, Seen, Witness};
use crate::statistics::Quartiles;

/// Time for the first request to be due.
const LEAD: Duration = Duration::from_millis(200);

/// How long requests of a frozen shard may take once its breaker is open (p99).
const FAILS_FAST: Duration = Duration::from_millis(100);

/// Time for a shard, or the gateway, to serve again once the fault has ended.
const BACK: Duration = Duration::from_secs(2);

/// How much longer requests for other shards may take (p99), and how much undisturbed times may differ.
const OTHERS: f64 = 1.5;

/// A row that has run.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    pub(crate) sent: usize,
    pub(crate) answered: usize,
    /// Requests without a right answer, by kind.
    pub(crate) failed: BTreeMap<String, usize>,
    pub(crate) refused: usize,
    pub(crate) lost: usize,
    /// p50 and p99 of requests for affected shards during the fault, in ms.
    pub(crate) affected: Option<(f64, f64)>,
    /// The same once the breaker was open.
    pub(crate) failing_fast: Option<(f64, f64)>,
    /// Medians of the repetitions' p99 of the other shards in ms: undisturbed, and during the fault.
    pub(crate) others: Option<(f64, f64)>,
    /// From the end of the fault to the last failure, the longest of all repetitions, in ms.
    pub(crate) back: f64,
    /// Verdicts other than balanced, and how often they were read.
    pub(crate) verdicts: BTreeMap<String, usize>,
    /// Largest resident memory of the gateway in bytes.
    pub(crate) gateway_bytes: u64,
    /// The longest answer of `/ready` and `/metrics` in ms.
    pub(crate) control: f64,
    /// What does not hold.
    pub(crate) wrong: Vec<String>,
    /// Why a time is not judged.
    pub(crate) undecided: Option<String>,
}

impl Row {
    /// Runs the row.
    ///
    /// # Errors
    /// If the lab does not start, or a part of it does not come back.
    pub(crate) async fn run(fault: Fault, timeline: &Timeline) -> Result<Self> {
        let mut stage = Stage::start(fault.wiring(timeline).await?).await?;
        fault.prepare(&stage).await?;
        let begin = Instant::now() + LEAD;
        let witness = Witness::start(&stage, begin)?;
        let (gateway, shards) = (stage.lab.gateway_addr(), stage.shards()?);
        let traffic = Traffic::start(gateway, shards, timeline.rate, timeline.seconds(), begin);
        let mut times = Vec::new();
        for repetition in 0..timeline.repetitions {
            let planned = timeline.disturbed(repetition);
            sleep_until((begin + planned.start).into()).await;
            fault.begin(&mut stage).await?;
            sleep_until((begin + planned.end).into()).await;
            fault.end(&mut stage).await?;
            times.push(planned.start..begin.elapsed());
        }
        let sent = traffic.ended().await?;
        let seen = witness.end();
        let agreed = stage.agreed().await;
        let mut row = Self::of(fault, timeline, &sent, &seen, &times);
        row.wrong.extend(agreed.err().map(|error| format!("{error:#}")));
        Ok(row)
    }

    fn of(fault: Fault, timeline: &Timeline, sent: &Sent, seen: &Seen, times: &[Range<Duration>]) -> Self {
        let mut row = Self {
            fault,
            sent: sent.samples.len(),
            answered: 0,
            failed: BTreeMap::new(),
            refused: 0,
            lost: 0,
            affected: None,
            failing_fast: None,
            others: None,
            back: 0.0,
            verdicts: BTreeMap::new(),
            gateway_bytes: seen.gateway_bytes,
            control: milliseconds(seen.slowest),
            wrong: Vec::new(),
            undecided: None,
        };
        let during = |sample: &Sample| times.iter().any(|time| time.contains(&sample.at));
        row.count(&sent.samples);
        row.affected = quantiles(sent.samples.iter().filter(|s| fault.affects(s.shard) && during(s)));
        let open = |sample: &Sample| {
            times.iter().any(|time| {
                let since = seen.open.iter().find(|at| time.contains(*at));
                since.is_some_and(|since| (*since..time.end).contains(&sample.at))
            })
        };
        row.failing_fast = quantiles(sent.samples.iter().filter(|s| fault.affects(s.shard) && open(s)));
        row.judge_outcomes(sent, times);
        row.judge_verdicts(timeline, &seen.verdicts, times);
        row.judge_control(seen, times);
        if timeline.judges_times {
            row.judge_times(timeline, sent, times);
        }
        row
    }

    fn count(&mut self, samples: &[Sample]) {
        for sample in samples {
            match &sample.outcome {
                Outcome::Answered => self.answered += 1,
                Outcome::Refused => self.refused += 1,
                Outcome::Failed(kind) => *self.failed.entry(kind.clone()).or_default() += 1,
                Outcome::Lost(why) => {
                    self.lost += 1;
                    *self.failed.entry(format!("lost: {why}")).or_default() += 1;
                }
                Outcome::Wrong(what) => *self.failed.entry(format!("WRONG: {what}")).or_default() += 1,
            }
        }
    }

    fn judge_outcomes(&mut self, sent: &Sent, times: &[Range<Duration>]) {
        let fault = self.fault;
        let number = |is: &dyn Fn(&&Sample) -> bool| sent.samples.iter().filter(is).count();
        let lost = number(&|sample| matches!(sample.outcome, Outcome::Lost(_)));
        let wrong = number(&|sample| matches!(sample.outcome, Outcome::Wrong(_)));
        let failed = number(&|s| matches!(s.outcome, Outcome::Failed(_)) && !fault.fails(s.shard));
        let refused = if fault.refuses() { 0 } else { self.refused };
        for (count, what) in [
            (lost, "requests have no answer"),
            (wrong, "answers are wrong"),
            (failed, "requests failed whose shard was well"),
            (refused, "connections were refused"),
        ] {
            if count > 0 {
                self.wrong.push(format!("{count} {what}"));
            }
        }
        if sent.dropped > 0 {
            self.wrong.push(format!("{} requests were not sent", sent.dropped));
        }
        // The longest time from the end of a fault to the last request that failed, of those before the next fault.
        for (place, time) in times.iter().enumerate() {
            let next = times.get(place + 1).map_or(Duration::MAX, |next| next.start);
            let late = sent.samples.iter().filter(|sample| {
                (time.end..next).contains(&sample.at) && sample.outcome != Outcome::Answered
            });
            let last = late.map(|sample| sample.at - time.end).max().unwrap_or_default();
            self.back = self.back.max(milliseconds(last));
        }
        if sent.max_lag > FAILS_FAST {
            self.undecided = Some(format!("requests were sent {:.0} ms late", milliseconds(sent.max_lag)));
        }
    }

    fn judge_verdicts(&mut self, timeline: &Timeline, verdicts: &[Given], times: &[Range<Duration>]) {
        for given in verdicts {
            if matches!(given.state, State::NotEnoughTraffic | State::Balanced) {
                continue;
            }
            let what = match given.reason {
                Some(Reason::ShardDown) => {
                    format!("{}: shard {} down", given.by, given.shard.unwrap_or_default())
                }
                _ => format!("{}: {} at shard {}", given.by, given.state, given.shard.unwrap_or_default()),
            };
            // A verdict may last until the shard has answered for a while, but not until the next calm ends.
            let last = times.last().map_or(Duration::ZERO, |time| time.end);
            let lasting = (0..timeline.repetitions).any(|repetition| {
                let (disturbed, after) = (timeline.disturbed(repetition), timeline.after(repetition));
                (disturbed.start..after.end.max(last + BACK)).contains(&given.at)
            });
            let is_true = given.reason == Some(Reason::ShardDown)
                && lasting
                && given.shard.is_some_and(|shard| self.fault.takes_down(shard));
            let what = if is_true { what } else { format!("FALSE {what}") };
            if !is_true && !self.verdicts.contains_key(&what) {
                self.wrong.push(format!("{what} at {:.1} s", given.at.as_secs_f64()));
            }
            *self.verdicts.entry(what).or_default() += 1;
        }
    }

    fn judge_control(&mut self, seen: &Seen, times: &[Range<Duration>]) {
        let calm = |at: &Duration| !times.iter().any(|time| (time.start..time.end + BACK).contains(at));
        let silent = seen.silent.iter().filter(|(at, _)| self.fault.leaves_control() || calm(at));
        let (mut ready, mut metrics) = (0, 0);
        for (_, path) in silent {
            *(if *path == "/ready" { &mut ready } else { &mut metrics }) += 1;
        }
        for (count, path) in [(ready, "/ready"), (metrics, "/metrics")] {
            if count > 0 {
                self.wrong.push(format!("{path} of the gateway had {count} times no answer"));
            }
        }
    }

    fn judge_times(&mut self, timeline: &Timeline, sent: &Sent, times: &[Range<Duration>]) {
        let p99 = |span: &Range<Duration>| {
            let others = sent.samples.iter().filter(|s| !self.fault.affects(s.shard) && span.contains(&s.at));
            quantiles(others).map(|(_, p99)| p99)
        };
        let calm = Quartiles::of((0..timeline.repetitions).filter_map(|one| p99(&timeline.calm(one))));
        let disturbed = Quartiles::of(times.iter().filter_map(p99));
        if let (Some(calm), Some(disturbed)) = (calm, disturbed) {
            self.others = Some((calm.median, disturbed.median));
            if calm.max > calm.min * OTHERS {
                let (min, max) = (calm.min, calm.max);
                self.undecided = Some(format!("undisturbed p99 from {min:.1} to {max:.1} ms"));
            } else if disturbed.median > calm.median * OTHERS {
                let ratio = disturbed.median / calm.median;
                self.wrong.push(format!("p99 of the other shards is {ratio:.1} times the undisturbed"));
            }
        }
        if self.undecided.is_some() {
            return;
        }
        let fast = self.failing_fast.filter(|(_, p99)| *p99 > milliseconds(FAILS_FAST));
        if let (Fault::Frozen, Some((_, p99))) = (self.fault, fast) {
            self.wrong.push(format!("p99 is {p99:.0} ms with an open breaker"));
        }
        if self.back > milliseconds(BACK) {
            self.wrong.push(format!("back after {:.1} s", self.back / 1_000.0));
        }
    }
}

/// p50 and p99 of the latencies, in ms.
fn quantiles<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<(f64, f64)> {
    let mut all: Vec<Duration> = samples.map(|sample| sample.latency).collect();
    all.sort_unstable();
    // The nearest rank.
    let at = |percent: usize| all.get((all.len() * percent).div_ceil(100).checked_sub(1)?).copied();
    Some((milliseconds(at(50)?), milliseconds(at(99)?)))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sample(at: f64, shard: usize, outcome: Outcome) -> Sample {
        Sample { at: Duration::from_secs_f64(at), shard, latency: SECOND / 1_000, outcome }
    }

    fn given(at: f64, reason: Reason, shard: usize) -> Given {
        let at = Duration::from_secs_f64(at);
        Given { at, by: "kernel", state: State::Warm, reason: Some(reason), shard: Some(shard) }
    }

    fn judged(fault: Fault, samples: Vec<Sample>, verdicts: Vec<Given>) -> Row {
        let sent = Sent { samples, dropped: 0, max_lag: Duration::ZERO };
        let times = [Timeline::QUICK.disturbed(0)];
        let seen = Seen { verdicts, ..Seen::default() };
        Row::of(fault, &Timeline::QUICK, &sent, &seen, &times)
    }

    #[test]
    fn only_the_affected_shard_may_fail_and_nothing_may_be_lost() {
        let failed = || Outcome::Failed("shard_unavailable".into());
        let right =
            judged(Fault::Killed, vec![sample(2.0, 1, failed()), sample(2.0, 0, Outcome::Answered)], vec![]);
        assert_eq!((right.wrong.len(), right.answered, right.sent), (0, 1, 2));
        let other = judged(Fault::Killed, vec![sample(2.0, 0, failed())], vec![]);
        assert_eq!(other.wrong, ["1 requests failed whose shard was well"]);
        let lost = judged(Fault::Killed, vec![sample(2.0, 1, Outcome::Lost("timed out".into()))], vec![]);
        assert_eq!(lost.wrong, ["1 requests have no answer"]);
        let wrong = judged(Fault::WrongKey, vec![sample(2.0, 1, Outcome::Wrong("WrongKey".into()))], vec![]);
        assert_eq!(wrong.wrong, ["1 answers are wrong"]);
    }

    #[test]
    fn a_shard_is_down_only_where_and_while_it_may_be() {
        let verdicts = |given| judged(Fault::Killed, vec![], vec![given]).wrong;
        assert!(verdicts(given(2.0, Reason::ShardDown, 1)).is_empty());
        assert_eq!(verdicts(given(2.0, Reason::ShardDown, 2)), ["FALSE kernel: shard 2 down at 2.0 s"]);
        assert_eq!(verdicts(given(1.0, Reason::ShardDown, 1)), ["FALSE kernel: shard 1 down at 1.0 s"]);
        assert_eq!(verdicts(given(2.0, Reason::Placement, 1)), ["FALSE kernel: warm at shard 1 at 2.0 s"]);
    }

    #[test]
    fn the_time_to_be_back_ends_with_the_last_failure() {
        let end = Timeline::QUICK.disturbed(0).end.as_secs_f64();
        let failed = sample(end + 0.5, 1, Outcome::Failed("shard_unavailable".into()));
        assert!((judged(Fault::Killed, vec![failed], vec![]).back - 500.0).abs() < 1e-6);
    }
}
