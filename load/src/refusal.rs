//! Refuses a run whose load differed from the planned load.

use protocol::body::{LoadRefusal, LoadRefused, RefusalReason};
use std::time::Duration;

/// A request is late if it is sent more than this after it was due.
pub const LATE: Duration = Duration::from_millis(50);
/// Maximum share of late requests.
pub const MAX_LATE_SHARE: f64 = 0.01;
/// Minimum share of the planned rate that must be sent.
pub const MIN_RATE_SHARE: f64 = 0.99;
/// Minimum number of answers for percentiles.
pub const MIN_ANSWERS: u64 = 100;

/// The figures of a run that the rules check.
#[derive(Clone, Copy, Debug)]
pub struct RunFigures {
    /// Planned requests.
    pub planned: u64,
    /// Sent requests.
    pub sent: u64,
    /// Requests not sent because too many were in flight.
    pub dropped: u64,
    /// Requests sent late.
    pub late: u64,
    /// Longest time from due to sent.
    pub max_lag: Duration,
    /// Answers, valid or not.
    pub answers: u64,
    /// Planned requests a second.
    pub offered_per_second: f64,
    /// Sent requests a second, up to the last request.
    pub achieved_per_second: f64,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Too many requests were in flight.
    #[error(
        "no report: {dropped} of {planned} requests were dropped at the limit of requests in flight; the lab is too slow: lower the \
         rate with --rate-factor"
    )]
    Dropped {
        /// Requests not sent.
        dropped: u64,
        /// Requests planned.
        planned: u64,
    },
    /// The generator's machine was too busy.
    #[error(
        "no report: {late} of {sent} requests were sent more than {} ms late (the worst {} ms; \
         allowed: 1 % of them); this machine is too busy: stop other work or lower the rate with --rate-factor",
        LATE.as_millis(), max_lag.as_millis()
    )]
    Lagged {
        /// Late requests.
        late: u64,
        /// All requests.
        sent: u64,
        /// The longest lag.
        max_lag: Duration,
    },
    /// Fewer requests a second than planned.
    #[error(
        "no report: only {achieved:.1} of {offered:.1} requests/s were sent (allowed: 99 % or more); this machine \
         is too busy: stop other work or lower the rate with --rate-factor"
    )]
    TooSlow {
        /// Sent requests a second.
        achieved: f64,
        /// Planned requests a second.
        offered: f64,
    },
    /// Too few answers for percentiles.
    #[error("no report: {answers} answers, at least {MIN_ANSWERS} are needed; run longer with --duration")]
    TooFew {
        /// Answers.
        answers: u64,
    },
}

impl Refusal {
    /// The refusal as JSON.
    #[must_use]
    pub fn body(&self) -> LoadRefused {
        let reason = match self {
            Self::Dropped { .. } => RefusalReason::RequestsDropped,
            Self::Lagged { .. } => RefusalReason::SentLate,
            Self::TooSlow { .. } => RefusalReason::RateNotKept,
            Self::TooFew { .. } => RefusalReason::TooFewAnswers,
        };
        LoadRefused { refused: LoadRefusal { reason, detail: self.to_string() } }
    }
}

/// Checks the figures of a run.
///
/// # Errors
/// Returns the first broken rule.
#[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
pub fn check(figures: &RunFigures) -> Result<(), Refusal> {
    let &RunFigures { planned, sent, dropped, late, max_lag, answers, .. } = figures;
    let (achieved, offered) = (figures.achieved_per_second, figures.offered_per_second);
    if dropped > 0 {
        return Err(Refusal::Dropped { dropped, planned });
    }
    if late as f64 > MAX_LATE_SHARE * sent as f64 {
        return Err(Refusal::Lagged { late, sent, max_lag });
    }
    if achieved < MIN_RATE_SHARE * offered {
        return Err(Refusal::TooSlow { achieved, offered });
    }
    if answers < MIN_ANSWERS {
        return Err(Refusal::TooFew { answers });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: RunFigures = RunFigures {
        planned: 1_000,
        sent: 1_000,
        dropped: 0,
        late: 10,
        max_lag: Duration::from_millis(90),
        answers: 100,
        offered_per_second: 100.0,
        achieved_per_second: 99.0,
    };

    #[test]
    fn figures_at_the_limits_are_reported() {
        assert_eq!(check(&GOOD), Ok(()));
    }

    #[test]
    fn each_rule_refuses_alone_with_its_reason_and_one_line() {
        for (figures, reason, expected) in [
            (
                RunFigures { dropped: 1, ..GOOD },
                RefusalReason::RequestsDropped,
                "1 of 1000 requests were dropped",
            ),
            (
                RunFigures { late: 11, ..GOOD },
                RefusalReason::SentLate,
                "11 of 1000 requests were sent more than 50 ms late (the worst 90 ms",
            ),
            (
                RunFigures { achieved_per_second: 98.9, ..GOOD },
                RefusalReason::RateNotKept,
                "98.9 of 100.0 requests/s were sent",
            ),
            (
                RunFigures { answers: 99, ..GOOD },
                RefusalReason::TooFewAnswers,
                "99 answers, at least 100 are needed",
            ),
        ] {
            let LoadRefusal { reason: found, detail } = check(&figures).unwrap_err().body().refused;
            assert_eq!(found, reason);
            assert!(detail.contains(expected) && !detail.contains('\n'), "{detail}");
        }
    }
}
