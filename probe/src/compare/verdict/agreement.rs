//! Compares the kernel's verdict with the gateway's.
//!
//! Both judge the requests to the shards, but not at the same moment. Their seconds start up to one second apart. The
//! kernel counts a request when it arrives, the gateway when it is answered. So a change can show in one verdict
//! before the other. Near a threshold the two can fall on different sides of it. Neither case is a disagreement.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::probe_api::{VerdictDifference, Verdicts};
use protocol::verdict::{Reason, State, Verdict};

/// How far one verdict may lag behind the other. A verdict's memory is as long.
const CHANGE: Duration = Duration::from_secs(5);

/// Lower bounds closer than this count as equal.
const BOUND_SLACK: f64 = 0.1;

/// Request rates with a smaller relative difference count as equal.
const RATE_SLACK: f64 = 0.1;

/// A short reason why one verdict is missing.
pub(crate) type Missing = String;

/// The recent verdicts of both witnesses.
#[derive(Debug, Default)]
pub(crate) struct Agreement {
    kernel: OpinionHistory,
    gateway: OpinionHistory,
    differ_since: Option<Duration>,
}

/// The parts of a verdict that are compared: state, reason, shard and key.
type Opinion = (State, Option<Reason>, Option<usize>, Option<String>);

/// One witness's opinions of the last [`CHANGE`], oldest first.
#[derive(Debug, Default)]
struct OpinionHistory(VecDeque<(Duration, Opinion)>);

impl Agreement {
    /// Adds both verdicts at `now`, since any fixed start. The gateway's is `None` when no gateway is configured.
    pub(crate) fn observe(
        &mut self,
        now: Duration,
        taken_at: f64,
        kernel: Result<Verdict<String>, Missing>,
        gateway: Option<Result<Verdict<String>, Missing>>,
    ) -> Verdicts {
        let (agree, cause) = match (&kernel, &gateway) {
            (Ok(kernel), Some(Ok(gateway))) => self.compare(now, kernel, gateway),
            (Err(why), _) => {
                self.missing(VerdictDifference::KernelBlind, format!("no verdict from the kernel: {why}"))
            }
            (_, None) => self.missing(
                VerdictDifference::NoGateway,
                "no gateway is configured: start the probe with GATEWAY_URL".to_owned(),
            ),
            (_, Some(Err(why))) => self
                .missing(VerdictDifference::GatewayUnreadable, format!("no verdict from the gateway: {why}")),
        };
        let (cause_kind, cause) = cause.unzip();
        Verdicts {
            taken_at,
            kernel: kernel.ok(),
            gateway: gateway.and_then(Result::ok),
            agree,
            cause_kind,
            cause,
        }
    }

    fn missing(
        &mut self,
        kind: VerdictDifference,
        why: String,
    ) -> (Option<bool>, Option<(VerdictDifference, String)>) {
        *self = Self::default();
        (None, Some((kind, why)))
    }

    fn compare(
        &mut self,
        now: Duration,
        kernel: &Verdict<String>,
        gateway: &Verdict<String>,
    ) -> (Option<bool>, Option<(VerdictDifference, String)>) {
        let (by_kernel, by_gateway) = (opinion(kernel), opinion(gateway));
        let ahead = self.gateway.time_since(&by_kernel, now).map(|ago| ("kernel", "gateway", ago));
        let ahead =
            ahead.or_else(|| self.kernel.time_since(&by_gateway, now).map(|ago| ("gateway", "kernel", ago)));
        let same = by_kernel == by_gateway;
        self.kernel.record(now, by_kernel);
        self.gateway.record(now, by_gateway);
        if same {
            self.differ_since = None;
            return (Some(true), None);
        }
        let both =
            format!("the kernel's verdict is {}, the gateway's is {}", in_words(kernel), in_words(gateway));
        let since = *self.differ_since.get_or_insert(now);
        if let Some((behind, ahead, ago)) = ahead {
            let why = format!(
                "{both}; the verdict is changing: the {behind} now has the verdict that the {ahead} had {:.0} s ago",
                ago.as_secs_f64()
            );
            return (Some(true), Some((VerdictDifference::Changing, why)));
        }
        if is_at_threshold(kernel, gateway) {
            self.differ_since = None;
            let why = format!("{both}: both are close to the threshold between them");
            return (Some(true), Some((VerdictDifference::Threshold, why)));
        }
        if now < since + CHANGE {
            return (
                None,
                Some((VerdictDifference::Changing, format!("{both}; they have differed for less than 5 s"))),
            );
        }
        let (kind, why) = why(kernel, gateway);
        (Some(false), Some((kind, format!("{both}: {why}"))))
    }
}

impl OpinionHistory {
    /// How long ago this witness last had this opinion, within [`CHANGE`].
    fn time_since(&self, opinion: &Opinion, now: Duration) -> Option<Duration> {
        let (at, _) = self.0.iter().rev().find(|(_, time_since)| time_since == opinion)?;
        now.checked_sub(*at).filter(|ago| *ago <= CHANGE)
    }

    fn record(&mut self, now: Duration, opinion: Opinion) {
        self.0.push_back((now, opinion));
        while self.0.front().is_some_and(|(at, _)| *at + CHANGE < now) {
            self.0.pop_front();
        }
    }
}

fn opinion(verdict: &Verdict<String>) -> Opinion {
    (verdict.state, verdict.reason, verdict.shard_id, verdict.key.clone())
}

fn in_words(verdict: &Verdict<String>) -> String {
    let mut words = verdict.state.name().to_owned();
    if let Some(shard) = verdict.shard_id {
        words += &format!(" (shard {shard}");
        match (&verdict.key, verdict.reason) {
            (Some(key), _) => words += &format!(", key {key:?})"),
            (None, Some(reason)) => words += &format!(", {reason})"),
            (None, None) => words += ")",
        }
    }
    words
}

/// Whether the states are neighbours, name the same shard if both name one, and rest on nearly equal figures.
fn is_at_threshold(kernel: &Verdict<String>, gateway: &Verdict<String>) -> bool {
    let place = |state| State::ALL.iter().position(|one| *one == state).unwrap_or_default();
    let blames = kernel.shard_id.zip(gateway.shard_id).is_none_or(|(a, b)| a == b)
        && kernel.key.as_ref().zip(gateway.key.as_ref()).is_none_or(|(a, b)| a == b);
    if place(kernel.state).abs_diff(place(gateway.state)) != 1 || !blames {
        return false;
    }
    if kernel.state.min(gateway.state) == State::NotEnoughTraffic {
        return share_more(kernel, gateway).abs() <= RATE_SLACK;
    }
    let bounds = kernel.lower_bound.zip(gateway.lower_bound);
    bounds.is_some_and(|(a, b)| (a - b).abs() <= BOUND_SLACK)
}

/// By which fraction the kernel's request rate exceeds the gateway's. Negative when it is lower.
#[expect(clippy::cast_precision_loss, reason = "ten seconds have far fewer than 2^53 requests")]
fn share_more(kernel: &Verdict<String>, gateway: &Verdict<String>) -> f64 {
    let rate =
        |verdict: &Verdict<String>| verdict.requests as f64 / verdict.window_seconds.max(f64::MIN_POSITIVE);
    let (kernel, gateway) = (rate(kernel), rate(gateway));
    (kernel - gateway) / kernel.max(gateway).max(f64::MIN_POSITIVE)
}

fn why(kernel: &Verdict<String>, gateway: &Verdict<String>) -> (VerdictDifference, &'static str) {
    let more = share_more(kernel, gateway);
    if more > RATE_SLACK {
        let why = "the kernel counts more requests than the gateway sent: some bypass it, or it was reset";
        return (VerdictDifference::Bypassed, why);
    }
    if more < -RATE_SLACK {
        return (VerdictDifference::Unseen, "the gateway sent more requests than the kernel counts");
    }
    let by_key = gateway.reason == Some(Reason::HotKey) && kernel.reason != Some(Reason::HotKey);
    if by_key && kernel.shard_id == gateway.shard_id {
        return (VerdictDifference::Writes, "that key is written, and the kernel reads only keys of reads");
    }
    (VerdictDifference::Unexplained, "the cause is unknown")
}

#[cfg(test)]
mod tests;
