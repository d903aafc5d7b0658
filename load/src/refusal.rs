//! When a run's figures mean nothing: the load was not the one that the report would name.

use std::time::Duration;

/// A request sent later than this after it was due is late.
pub const LATE: Duration = Duration::from_millis(50);
/// Most late requests, as a share of all.
pub const MAX_LATE_SHARE: f64 = 0.01;
/// Least share of the offered rate that must be reached.
pub const MIN_RATE_SHARE: f64 = 0.99;
/// Fewest answers that percentiles are made of.
pub const MIN_ANSWERS: u64 = 100;

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Requests that were to be sent.
    pub planned: u64,
    /// Requests sent.
    pub sent: u64,
    /// Requests not sent for want of a free place.
    pub dropped: u64,
    /// Requests sent late.
    pub late: u64,
    /// The longest lag.
    pub max_lag: Duration,
    /// Requests answered, right or wrong.
    pub answers: u64,
    /// Requests a second asked for.
    pub offered_per_second: f64,
    /// Requests a second sent, up to the last send.
    pub achieved_per_second: f64,
}

/// Why there is no report.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// As many requests were in flight as may be.
    #[error(
        "no report: {dropped} of {planned} requests found as many in flight as the scenario has; the lab is too slow for this rate, lower it with --rate-factor"
    )]
    Dropped {
        /// Requests not sent.
        dropped: u64,
        /// Requests planned.
        planned: u64,
    },
    /// The generator did not get to run.
    #[error(
        "no report: {late} of {sent} requests were sent more than {} ms late (the worst {} ms; at most 1 % may be); this machine is too busy, free it or lower the rate with --rate-factor",
        LATE.as_millis(), max_lag.as_millis()
    )]
    Lagged {
        /// Late requests.
        late: u64,
        /// All requests.
        sent: u64,
        /// The worst.
        max_lag: Duration,
    },
    /// Fewer requests a second than asked for.
    #[error(
        "no report: {achieved:.1} requests/s were sent of {offered:.1} asked for (at least 99 % must be); free this machine or lower the rate with --rate-factor"
    )]
    TooSlow {
        /// Reached.
        achieved: f64,
        /// Asked for.
        offered: f64,
    },
    /// Percentiles of so few would be chance.
    #[error("no report: {answers} answers are too few, {MIN_ANSWERS} are needed; run longer with --duration")]
    TooFew {
        /// Answers.
        answers: u64,
    },
}

/// Refuses figures that mean nothing.
///
/// # Errors
/// The first rule that is broken.
#[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
pub fn judge(figures: &Figures) -> Result<(), Refusal> {
    let &Figures { planned, sent, dropped, late, max_lag, answers, .. } = figures;
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

    const GOOD: Figures = Figures {
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
    fn figures_at_the_limits_stand() {
        assert_eq!(judge(&GOOD), Ok(()));
    }

    #[test]
    fn each_rule_refuses_alone_and_says_so_in_one_line() {
        for (figures, says) in [
            (Figures { dropped: 1, ..GOOD }, "1 of 1000 requests"),
            (
                Figures { late: 11, ..GOOD },
                "11 of 1000 requests were sent more than 50 ms late (the worst 90 ms",
            ),
            (Figures { achieved_per_second: 98.9, ..GOOD }, "98.9 requests/s were sent of 100.0"),
            (Figures { answers: 99, ..GOOD }, "99 answers are too few, 100 are needed"),
        ] {
            let line = judge(&figures).unwrap_err().to_string();
            assert!(line.contains(says) && !line.contains('\n'), "{line}");
        }
    }
}
