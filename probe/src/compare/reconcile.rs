//! Compares kernel and application: takes brackets, returns difference, bound and verdict.
//!
//! The kernel counts a request when the last byte of its head reaches the socket. The application counts it a little
//! later, when it has read it. `K(t)` and `A(t)` are the two counts. `base` is the constant `A − K` at rest. A
//! *bracket* is three readings: kernel, application, kernel. The application's reading falls between `t1` and `t2`:
//!
//! ```text
//! base + K(t1 − lag)  ≤  A  ≤  base + K(t2)        so        A − K(t2)  ≤  base  ≤  A − K(t1 − lag)
//! ```
//!
//! So every bracket gives an interval for `base`. A *generation* starts when the probe attaches or the shard's process
//! starts. Its first bracket is the baseline, and later ones narrow the interval. The lag ([`BASELINE_LAG`]) is long
//! enough to hold even on an overloaded machine.
//!
//! A bracket is *quiet* if no count has changed for [`SETTLE`] and the application has no active requests. The first
//! quiet bracket reduces the interval to a point, if that point lies inside the interval known so far. A bracket
//! outside the interval is a disagreement. A baseline is never moved to hide one.
//!
//! A loss between a baseline under load and the first quiet moment cannot be seen if it is smaller than the interval.
//! The bound includes the width of that interval.
//!
//! A client that closes before an answer may abort requests that the application has not read. The kernel has counted
//! them, but the application never will. The kernel counts aborted requests separately, and the bound allows for them.

use std::collections::VecDeque;
use std::time::Duration;

use probe_common::requests::REASONS;
use protocol::probe_api::Comparison;

use self::cause::{Cause, Evidence};

pub(crate) mod cause;

/// The longest usual time between the kernel's count of a request and the application's. An older request that the
/// application has not counted is a difference.
pub(crate) const LAG: Duration = Duration::from_secs(2);

/// The lag for baselines. It is longer than [`LAG`], so a moment of overload cannot falsify a baseline.
pub(crate) const BASELINE_LAG: Duration = Duration::from_secs(5);

/// How long the counts must stay unchanged for a bracket to be quiet.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);

/// The application's own counts, from `/stats`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AppReading {
    /// Data requests since the process started.
    pub(crate) requests_received: u64,
    /// Start time of the process, in Unix seconds. A new value means a new process.
    pub(crate) started_at: f64,
    /// Requests in service and waiting.
    pub(crate) active_requests: u64,
}

/// One bracket of one shard: kernel, application, kernel. Times are since the probe's start.
#[derive(Clone, Debug)]
pub(crate) struct Bracket {
    /// Time of the first kernel reading.
    pub(crate) from: Duration,
    /// Time of the second kernel reading.
    pub(crate) to: Duration,
    /// The kernel's data requests at `from`.
    pub(crate) kernel_before: u64,
    /// The kernel's data requests at `to`.
    pub(crate) kernel_after: u64,
    /// Data requests at `to` in segments that TCP has neither accepted nor dropped. The application may have read
    /// them.
    pub(crate) undecided: u64,
    /// Aborted data requests at `to`: the client closed before an answer, and it is unknown whether the shard read
    /// them.
    pub(crate) aborted: u64,
    /// Data requests with the start of an answer seen, read soon after `to`.
    pub(crate) answered: u64,
    /// Segments to the shard without new data, at `to`.
    pub(crate) repeated: u64,
    /// Unparsed segments at `to`, by [`Reason`](probe_common::requests::Reason).
    pub(crate) unparsed: [u64; REASONS],
    /// The application's reading in between, or why it could not be read.
    pub(crate) app: Result<AppReading, String>,
    /// Wall-clock time at `to`, in Unix seconds.
    pub(crate) unix_seconds: f64,
}

/// The state of one shard's comparison.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The kernel's count over time, since the shard is watched.
    history: VecDeque<(Duration, u64)>,
    generation: Option<Generation>,
}

/// One run of the application's process, with one set of watched addresses.
#[derive(Debug)]
struct Generation {
    started_at: f64,
    since: f64,
    kernel_at_baseline: u64,
    /// The kernel's other counters at the baseline.
    evidence: Evidence,
    /// Lower limit of `base`.
    low: i64,
    /// Upper limit of `base`, once known.
    high: Option<i64>,
    /// Since when the counts of kernel and application are unchanged, and their values.
    still: Option<(Duration, u64, u64)>,
    /// Whether the counts have been unchanged for [`SETTLE`].
    quiet: bool,
}

impl Ledger {
    /// Drops all state, because the shard's addresses have changed and the kernel counts something else.
    pub(crate) fn start_over(&mut self) {
        *self = Self::default();
    }

    /// Whether another bracket soon could give a final verdict. A disagreement is final.
    pub(crate) fn is_settling(&self, comparison: &Comparison) -> bool {
        self.is_narrowing(comparison) && comparison.agrees != Some(false)
    }

    /// Whether another bracket soon could narrow the bound: the counts do not change, but not for long enough yet.
    pub(crate) fn is_narrowing(&self, comparison: &Comparison) -> bool {
        let waiting = |generation: &Generation| generation.still.is_some() && !generation.quiet;
        let firm = comparison.bound == Some(0) && comparison.difference == Some(0);
        self.generation.as_ref().is_some_and(waiting) && !firm
    }

    /// Ends a rest, because the application could not be read.
    #[cfg(feature = "stores")]
    pub(crate) fn interrupt(&mut self) {
        if let Some(generation) = &mut self.generation {
            generation.still = None;
        }
    }

    /// Adds a bracket and returns the verdict.
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

    /// The kernel's count at a moment, or the last reading before it.
    fn kernel_at(&self, moment: Option<Duration>) -> Option<u64> {
        let moment = moment?;
        self.history.iter().rev().find(|(at, _)| *at <= moment).map(|(_, count)| *count)
    }

    fn remember(&mut self, bracket: &Bracket) {
        self.history.push_back((bracket.from, bracket.kernel_before));
        self.history.push_back((bracket.to, bracket.kernel_after));
        // Keep one reading that is older than the longest lag, and drop the ones before it.
        while self.history.get(1).is_some_and(|(at, _)| *at + BASELINE_LAG <= bracket.from) {
            self.history.pop_front();
        }
    }
}

/// A bracket's counts as signed numbers.
struct BracketFigures {
    /// The application's count.
    count: i64,
    /// The kernel's count at the bracket's end.
    after: i64,
    /// Requests beyond `after` that TCP may have accepted by then.
    undecided: i64,
    /// The growth of the kernel's count during the last [`LAG`] and the bracket.
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
        // TCP acknowledges accepted data in less time than a quiet bracket takes.
        let undecided = if quiet { 0 } else { seen.undecided };
        // The interval for `base` from this bracket alone.
        let low = seen.count - seen.after - undecided;
        let high = if quiet { Some(low) } else { seen.high }.map(|high| high + signed(aborted));
        let narrowed_low = self.low.max(low);
        let narrowed_high = match (self.high, high) {
            (Some(mine), Some(its)) => Some(mine.min(its)),
            (mine, its) => mine.or(its),
        };
        if narrowed_high.is_none_or(|high| narrowed_low <= high) {
            if quiet && !self.evidence.rested {
                // No request is in flight now, so the unanswered ones never get an answer.
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
        // Kernel − application for both ends of the baseline's interval.
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

    /// Whether no count has changed for [`SETTLE`], up to and including this bracket.
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
