//! Kernel against application: brackets in, difference, bound and verdict out.
//!
//! The kernel counts a request when the last byte of its head reaches the socket; the application counts it when it
//! has read it, a little later. With `K(t)` and `A(t)` the two counts, `base` the constant `A − K` at rest, and a
//! bracket *kernel, application, kernel* whose application reading falls between `t1` and `t2`:
//!
//! ```text
//! base + K(t1 − lag)  ≤  A  ≤  base + K(t2)        so        A − K(t2)  ≤  base  ≤  A − K(t1 − lag)
//! ```
//!
//! So every bracket gives an interval for `base`. The first one of a generation (an attached probe, a started shard
//! process) is the baseline; later ones narrow it, with a lag so long ([`BASELINE_LAG`]) that even an overloaded
//! machine keeps it. The first *quiet* bracket (nothing moved for [`SETTLE`], nothing in the application's hands)
//! makes it a point, if that point lies inside what is known by then. A bracket that misses it is a disagreement: a
//! baseline is never moved to make one go away. What gets lost between a baseline taken under load and the first
//! quiet moment, and is smaller than the interval is wide, cannot be seen; the bound says how wide it is.
//!
//! A client that leaves before an answer may take requests back that the application has not looked at: the kernel
//! counted them, the application never will. The kernel counts such requests apart, and the bound allows for them.

use std::collections::VecDeque;
use std::time::Duration;

use probe_common::requests::REASONS;
use protocol::probe_api::Comparison;

use self::cause::{Cause, Evidence};

pub(crate) mod cause;

/// The longest usual time between the kernel's count of a request and the application's: what is older counts as a
/// difference.
pub(crate) const LAG: Duration = Duration::from_secs(2);

/// The longest time at all: a baseline must not be spoilt by a moment of overload.
pub(crate) const BASELINE_LAG: Duration = Duration::from_secs(5);

/// How long nothing may move for a moment to be called quiet.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// What the application says of itself in `/stats`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AppReading {
    /// Data requests since its start.
    pub(crate) requests_received: u64,
    /// When the process started, in unix seconds; another process has another.
    pub(crate) started_at: f64,
    /// Requests in service and waiting.
    pub(crate) active_requests: u64,
}

/// One bracket of one shard: kernel, application, kernel. Times are since the probe's start.
#[derive(Clone, Debug)]
pub(crate) struct Bracket {
    /// When the kernel was read first.
    pub(crate) from: Duration,
    /// When it was read again.
    pub(crate) to: Duration,
    /// The kernel's data requests, at `from`.
    pub(crate) kernel_before: u64,
    /// The same at `to`.
    pub(crate) kernel_after: u64,
    /// Data requests at `to` in segments that TCP has neither accepted nor dropped: the application may have read them.
    pub(crate) undecided: u64,
    /// Data requests whose client left before an answer, and of which nothing more is known, at `to`.
    pub(crate) aborted: u64,
    /// Data requests whose answer was seen to begin, soon after `to`.
    pub(crate) answered: u64,
    /// Segments towards the shard that brought nothing new, at `to`.
    pub(crate) repeated: u64,
    /// Segments not parsed, at `to`, by [`Reason`](probe_common::requests::Reason).
    pub(crate) unparsed: [u64; REASONS],
    /// The application in between, or why it could not be read.
    pub(crate) app: Result<AppReading, String>,
    /// The clock on the wall at `to`, in unix seconds.
    pub(crate) unix_seconds: f64,
}

/// Everything known of one shard.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The kernel's count over time, since the shard is watched.
    history: VecDeque<(Duration, u64)>,
    generation: Option<Generation>,
}

/// One life of the application's process, under one set of watched addresses.
#[derive(Debug)]
struct Generation {
    started_at: f64,
    since: f64,
    kernel_at_baseline: u64,
    /// What was counted besides requests, at the baseline.
    evidence: Evidence,
    /// `base` is at least this,
    low: i64,
    /// and at most this, once known.
    high: Option<i64>,
    /// Counts that have not moved, and since when.
    still: Option<(Duration, u64, u64)>,
    /// Whether that has been so for [`SETTLE`].
    quiet: bool,
}

impl Ledger {
    /// Forgets all: the shard's addresses have changed, so the kernel counts something else.
    pub(crate) fn start_over(&mut self) {
        *self = Self::default();
    }

    /// Whether another bracket soon would tell more: nothing moves, but the verdict does not stand yet.
    pub(crate) fn is_settling(&self, comparison: &Comparison) -> bool {
        let waiting = |generation: &Generation| generation.still.is_some() && !generation.quiet;
        let firm = comparison.bound == Some(0) && comparison.difference == Some(0);
        self.generation.as_ref().is_some_and(waiting) && !firm && comparison.agrees != Some(false)
    }

    /// Takes a bracket in and gives the verdict.
    pub(crate) fn observe(&mut self, bracket: &Bracket) -> Comparison {
        let lagging = self.kernel_at(bracket.from.checked_sub(LAG));
        let long_ago = self.kernel_at(bracket.from.checked_sub(BASELINE_LAG));
        let oldest = self.history.front().map_or(bracket.kernel_before, |(_, count)| *count);
        self.remember(bracket);
        let app = match &bracket.app {
            Ok(app) => *app,
            Err(problem) => {
                if let Some(generation) = &mut self.generation {
                    generation.still = None;
                }
                return Cause::shard_unreadable(problem).alone();
            }
        };
        let seen = BracketFigures {
            count: signed(app.requests_received),
            after: signed(bracket.kernel_after),
            undecided: signed(bracket.undecided),
            moved: bracket.kernel_after.saturating_sub(lagging.unwrap_or(oldest)),
            high: long_ago.map(|count| signed(app.requests_received) - signed(count)),
        };
        let same = self.generation.as_ref().is_some_and(|generation| generation.started_at == app.started_at);
        if !same {
            self.generation = Some(Generation::new(bracket, app, &seen));
        }
        match &mut self.generation {
            Some(generation) => generation.observe(bracket, app, &seen),
            None => Comparison::default(),
        }
    }

    /// The kernel's count at a moment, or the last one known before.
    fn kernel_at(&self, moment: Option<Duration>) -> Option<u64> {
        let moment = moment?;
        self.history.iter().rev().find(|(at, _)| *at <= moment).map(|(_, count)| *count)
    }

    fn remember(&mut self, bracket: &Bracket) {
        self.history.push_back((bracket.from, bracket.kernel_before));
        self.history.push_back((bracket.to, bracket.kernel_after));
        // One reading older than the longest lag is needed, no more.
        while self.history.get(1).is_some_and(|(at, _)| *at + BASELINE_LAG <= bracket.from) {
            self.history.pop_front();
        }
    }
}

/// A bracket's figures, signed.
struct BracketFigures {
    /// The application's count.
    count: i64,
    /// The kernel's at the bracket's end.
    after: i64,
    /// Requests beyond it that TCP may have accepted by then.
    undecided: i64,
    /// What the kernel counted in the last [`LAG`] and inside the bracket.
    moved: u64,
    /// `A − K(t1 − BASELINE_LAG)`, once the shard has been watched that long.
    high: Option<i64>,
}

impl Generation {
    fn new(bracket: &Bracket, app: AppReading, seen: &BracketFigures) -> Self {
        Self {
            started_at: app.started_at,
            since: bracket.unix_seconds,
            kernel_at_baseline: bracket.kernel_after,
            evidence: Evidence::at(bracket),
            low: seen.count - seen.after - seen.undecided,
            high: None,
            still: None,
            quiet: false,
        }
    }

    fn observe(&mut self, bracket: &Bracket, app: AppReading, seen: &BracketFigures) -> Comparison {
        let quiet = self.is_quiet(bracket, app);
        self.quiet = quiet;
        let aborted = bracket.aborted.saturating_sub(self.evidence.aborted);
        // TCP acknowledges what it has accepted in less time than a quiet bracket takes.
        let undecided = if quiet { 0 } else { seen.undecided };
        // The bracket's own interval.
        let low = seen.count - seen.after - undecided;
        let high = if quiet { Some(low) } else { seen.high }.map(|high| high + signed(aborted));
        let narrowed_low = self.low.max(low);
        let narrowed_high = match (self.high, high) {
            (Some(mine), Some(its)) => Some(mine.min(its)),
            (mine, its) => mine.or(its),
        };
        if narrowed_high.is_none_or(|high| narrowed_low <= high) {
            if quiet && !self.evidence.rested {
                // By now nothing is on its way, so what has no answer never gets one.
                self.evidence.unanswered = cause::unanswered(bracket);
                self.evidence.rested = true;
            }
            (self.low, self.high) = (narrowed_low, narrowed_high);
        }
        let kernel = bracket.kernel_after.saturating_sub(self.kernel_at_baseline);
        let since = Some(self.since);
        let Some(high) = self.high else {
            return Comparison { kernel: Some(kernel), since, ..Cause::baseline().alone() };
        };
        // Kernel − application for either end of what the baseline may be.
        let (least, most) = (seen.after - seen.count + self.low, seen.after + undecided - seen.count + high);
        let difference = 0.clamp(least, most);
        let width = (most - least).unsigned_abs();
        let still = self.still.is_some();
        // Equal counts at rest need no allowance.
        let equal = still && width == 0 && difference == 0;
        let in_flight = if quiet { 0 } else { seen.moved };
        let bound = if equal { 0 } else { in_flight.saturating_add(width).saturating_add(aborted) };
        let agrees = difference >= 0 && difference.unsigned_abs() <= bound;
        let cause = if agrees {
            Cause::within(bound.saturating_sub(aborted), aborted)
        } else {
            Some(Cause::beyond(difference, &self.evidence.since(bracket)))
        };
        let (cause_kind, cause) = Cause::split(cause);
        Comparison {
            kernel: Some(kernel),
            app: Some(u64::try_from(signed(kernel) - difference).unwrap_or(0)),
            difference: Some(difference),
            bound: Some(bound),
            agrees: Some(agrees),
            cause_kind,
            cause,
            since,
            ..Comparison::default()
        }
    }

    /// Whether nothing has moved for [`SETTLE`], this bracket included.
    fn is_quiet(&mut self, bracket: &Bracket, app: AppReading) -> bool {
        let counts = (bracket.kernel_after, app.requests_received);
        if bracket.kernel_before != bracket.kernel_after || app.active_requests > 0 {
            self.still = None;
            return false;
        }
        match self.still {
            Some((since, kernel, received)) if (kernel, received) == counts => {
                bracket.to.saturating_sub(since) >= SETTLE
            }
            _ => {
                self.still = Some((bracket.from, counts.0, counts.1));
                false
            }
        }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
