//! Finds the cause of a difference from the kernel's other counters.
//!
//! The shard counts a request before any check, so it sheds no request before counting it. Two things can separate the
//! socket from that counter:
//!
//! - a shard that does not read (stopped, stuck, or with a full accept queue)
//! - another server at the same address, which answers without counting
//!
//! Whether answers were seen distinguishes the two.

use probe_common::requests::{REASONS, Reason};
use protocol::probe_api::{CauseKind, Comparison};

use super::{Bracket, signed};

/// A kind of cause with its sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) kind: CauseKind,
    pub(crate) sentence: String,
}

/// The kernel's counters besides requests: at the baseline, or their growth since.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub(super) aborted: u64,
    /// Requests without a timed answer whose client has not closed. The maps are not read at one instant, so the
    /// number may fall.
    pub(super) unanswered: i64,
    /// Whether `unanswered` was read while no request was in flight. Before that it is not meaningful.
    pub(super) rested: bool,
    repeated: u64,
    unparsed: [u64; REASONS],
}

/// Requests without a timed answer at the bracket's end, minus the aborted ones.
pub(super) fn unanswered(bracket: &Bracket) -> i64 {
    signed(bracket.kernel_after) - signed(bracket.answered) - signed(bracket.aborted)
}

impl Evidence {
    pub(super) fn at(bracket: &Bracket) -> Self {
        Self {
            aborted: bracket.aborted,
            unanswered: unanswered(bracket),
            rested: false,
            repeated: bracket.repeated,
            unparsed: bracket.unparsed,
        }
    }

    /// The growth since this baseline.
    pub(super) fn since(&self, bracket: &Bracket) -> Self {
        let now = Self::at(bracket);
        let mut unparsed = now.unparsed;
        for (now, then) in unparsed.iter_mut().zip(self.unparsed) {
            *now = now.saturating_sub(then);
        }
        Self {
            aborted: now.aborted.saturating_sub(self.aborted),
            unanswered: now.unanswered - self.unanswered,
            rested: self.rested,
            repeated: now.repeated.saturating_sub(self.repeated),
            unparsed,
        }
    }
}

impl Cause {
    fn new(kind: CauseKind, sentence: impl Into<String>) -> Self {
        Self { kind, sentence: sentence.into() }
    }

    pub(crate) fn kernel_unreadable() -> Self {
        Self::new(CauseKind::KernelUnreadable, "the kernel's counters cannot be read")
    }

    pub(crate) fn unwatched(why: &str) -> Self {
        Self::new(CauseKind::Unwatched, format!("some addresses of the shard are not watched: {why}"))
    }

    pub(crate) fn blind(why: &str) -> Self {
        Self::new(CauseKind::Blind, format!("the probe is blind: {why}"))
    }

    pub(super) fn shard_unreadable(problem: &str) -> Self {
        Self::new(CauseKind::ShardUnreadable, format!("the shard cannot be read: {problem}"))
    }

    pub(crate) fn baseline() -> Self {
        Self::new(CauseKind::Baseline, "the baseline is being taken")
    }

    pub(crate) fn bypassed(count: u64) -> Self {
        let sentence = format!("{count} requests reached the shard without the gateway");
        Self::new(CauseKind::Bypassed, sentence)
    }

    pub(crate) fn gateway_unreadable(problem: &str) -> Self {
        Self::new(CauseKind::GatewayUnreadable, format!("the gateway cannot be read: {problem}"))
    }

    /// A comparison with only this cause.
    pub(crate) fn alone(self) -> Comparison {
        let (cause_kind, cause) = Self::split(Some(self));
        Comparison { cause_kind, cause, ..Comparison::default() }
    }

    /// Adds the finding of another witness to a comparison. It replaces the kind where kernel and application agree.
    pub(crate) fn add_to(self, comparison: &mut Comparison) {
        if comparison.agrees == Some(true) {
            comparison.cause_kind = Some(self.kind);
        }
        comparison.cause = Some(match comparison.cause.take() {
            Some(old) if comparison.agrees == Some(true) => format!("{}; {old}", self.sentence),
            Some(old) => format!("{old}; {}", self.sentence),
            None => self.sentence,
        });
    }

    pub(crate) fn split(cause: Option<Self>) -> (Option<CauseKind>, Option<String>) {
        cause.map(|cause| (cause.kind, cause.sentence)).unzip()
    }

    /// What the bound of a small difference consists of. `None` when the bound is 0.
    pub(super) fn within(moving: u64, aborted: u64) -> Option<Self> {
        let kind = if moving > 0 { CauseKind::InFlight } else { CauseKind::Aborted };
        let parts = [(moving, "are in flight"), (aborted, "were aborted by their clients")];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("up to {count} requests {what}"))
            .collect();
        (!parts.is_empty()).then(|| Self::new(kind, parts.join(", ")))
    }

    /// The cause of a difference beyond its bound.
    pub(super) fn beyond(difference: i64, since: &Evidence) -> Self {
        if difference > 0 { Self::uncounted(difference, since) } else { Self::missed(difference, since) }
    }

    /// The cause when the shard counted fewer than the kernel.
    fn uncounted(difference: i64, since: &Evidence) -> Self {
        let (kind, why) = if !since.rested || (1..difference).contains(&since.unanswered) {
            (CauseKind::Uncounted, String::new())
        } else if since.unanswered <= 0 {
            (
                CauseKind::Shed,
                "; all were answered, so another server answers before the shard counts".to_owned(),
            )
        } else if signed(since.repeated) >= difference {
            let repeated = since.repeated;
            (
                CauseKind::Retransmitted,
                format!("; {repeated} segments were retransmitted, and one may have been counted twice"),
            )
        } else {
            (
                CauseKind::Unanswered,
                "; they were not answered: the shard is stuck, or its accept queue is full".to_owned(),
            )
        };
        Self::new(
            kind,
            format!("{difference} requests reached the shard's socket and are missing from its count{why}"),
        )
    }

    /// The cause when the kernel counted fewer than the shard.
    fn missed(difference: i64, since: &Evidence) -> Self {
        let missing = difference.unsigned_abs();
        let reasons: Vec<String> = Reason::ALL
            .iter()
            .zip(since.unparsed)
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{} {count}", reason.name()))
            .collect();
        if reasons.is_empty() {
            let what = "requests that the kernel did not see: check for another address";
            return Self::new(CauseKind::Unseen, format!("the shard counted {missing} {what}"));
        }
        let reasons = reasons.join(", ");
        let sentence = format!("the shard counted {missing} more; segments not parsed: {reasons}");
        Self::new(CauseKind::Unparsed, sentence)
    }
}
