//! Rules of the rows: which counts of the probe are allowed for a given truth.

use protocol::probe_api::ShardCounts;

use super::server::Counts;

/// The most bytes of a packet, a bundle included.
pub(crate) const LARGEST_PACKET: u64 = 65_535;

/// The rule of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// Everything arrives in order: every count equals the truth, nothing is unparsed.
    Exact,
    /// Every count equals the truth. Segments may be unparsed.
    ExactDespite {
        /// Why the rule allows it.
        why: &'static str,
    },
    /// Every count equals the truth, and segments are unparsed for this reason, because the probe must report what it
    /// cannot see.
    ExactSaying {
        /// The reason in `unparsed`.
        reason: &'static str,
        /// Why the rule is right.
        why: &'static str,
    },
    /// Never more than the truth. Unparsed segments cover the missing requests.
    NeverOver {
        /// Largest number of heads that end in one segment.
        heads_per_segment: u64,
        /// Why the rule is right.
        why: &'static str,
    },
    /// Every count equals the truth without the requests that the probe reports as never read.
    NeverRead {
        /// Why the rule is right.
        why: &'static str,
    },
    /// Aborted requests cover the extra requests, and unparsed segments the missing ones.
    Accounted {
        /// Largest number of heads that end in one segment.
        heads_per_segment: u64,
        /// Why the rule is right.
        why: &'static str,
    },
    /// At most this many more than the truth.
    OverByAtMost {
        /// The number of extra requests.
        requests: u64,
        /// Why the rule is right.
        why: &'static str,
    },
}

/// The outcome of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RowVerdict {
    /// The count equals the truth.
    Exact,
    /// The rule allows the difference or the unparsed segments, for this reason.
    Explained(String),
    /// It is not, and nothing explains it.
    Wrong(String),
    /// The row could not be run.
    NotRun(String),
}

impl RowVerdict {
    /// In one word, for the table.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Explained(_) => "explained",
            Self::Wrong(_) => "WRONG",
            Self::NotRun(_) => "NOT RUN",
        }
    }

    /// Whether the suite may pass with it.
    pub(crate) const fn passes(&self) -> bool {
        matches!(self, Self::Exact | Self::Explained(_))
    }

    /// The explanation.
    pub(crate) fn why(&self) -> Option<&str> {
        match self {
            Self::Exact => None,
            Self::Explained(why) | Self::Wrong(why) | Self::NotRun(why) => Some(why),
        }
    }
}

impl Rule {
    /// For one request at a time on a bad network.
    pub(crate) const ONE_AT_A_TIME: Self =
        Self::ExactDespite { why: "exact; body bytes after a gap were not parsed, which loses no request" };

    /// Judges the requests; `agrees` is the probe's own comparison with the server's `/stats`.
    pub(crate) fn judge(&self, truth: &Counts, counted: &ShardCounts, agrees: Option<bool>) -> RowVerdict {
        let verdict = self.judge_counts(truth, counted);
        let equal = truth.data() + counted.never_read_requests == counted.data();
        match (agrees, &verdict) {
            (_, RowVerdict::Wrong(_)) => verdict,
            (Some(true), _) if !equal => {
                RowVerdict::Wrong("the probe reports agreement, but the counts differ".to_owned())
            }
            (Some(false), _) if equal => {
                RowVerdict::Wrong("the probe reports a difference, but the counts agree".to_owned())
            }
            _ => verdict,
        }
    }

    fn judge_counts(&self, truth: &Counts, counted: &ShardCounts) -> RowVerdict {
        let unparsed = counted.unparsed_segments();
        let data = (truth.get, truth.set) == (counted.requests.get, counted.requests.set);
        let all = data && truth.control == counted.control_requests;
        let operations = || {
            format!(
                "GET {} counted as {}, POST {} as {}, others {} as {}; unparsed: {}",
                truth.get,
                counted.requests.get,
                truth.set,
                counted.requests.set,
                truth.control,
                counted.control_requests,
                unparsed_words(counted)
            )
        };
        // Heads of all kinds that are missing; absent if there is one too many of any kind.
        let missing = missing(truth, counted);
        let explained = |why: &str| {
            RowVerdict::Explained(format!("{why}. Unparsed segments: {}", unparsed_words(counted)))
        };
        match *self {
            _ if all && unparsed == 0 && !matches!(self, Self::ExactSaying { .. }) => RowVerdict::Exact,
            Self::ExactDespite { why } if all => explained(why),
            Self::ExactSaying { reason, why }
                if all && counted.unparsed.get(reason).is_some_and(|n| *n > 0) =>
            {
                explained(why)
            }
            Self::NeverOver { heads_per_segment, why } => match missing {
                Some(0) => explained("exact; the unparsed segments were seen again, or contained no head"),
                Some(missing) if missing <= unparsed * heads_per_segment => {
                    let share = percent(missing, truth.data() + truth.control);
                    explained(&format!(
                        "{missing} requests ({share}, control calls included) not counted: {why}"
                    ))
                }
                _ => RowVerdict::Wrong(operations()),
            },
            Self::NeverRead { why } => {
                let read = counted.data().checked_sub(counted.never_read_requests);
                if (read, counted.control_requests) == (Some(truth.data()), truth.control) {
                    explained(&format!("exact without {} requests: {why}", counted.never_read_requests))
                } else {
                    RowVerdict::Wrong(operations())
                }
            }
            Self::Accounted { heads_per_segment, why } => {
                let (true_all, counted_all) =
                    (truth.data() + truth.control, counted.data() + counted.control_requests);
                if counted_all <= true_all + counted.aborted_requests + counted.never_read_requests
                    && true_all <= counted_all + unparsed * heads_per_segment
                {
                    let (aborted, never_read) = (counted.aborted_requests, counted.never_read_requests);
                    explained(&format!(
                        "{counted_all} of {true_all} counted, {aborted} aborted, {never_read} never read: {why}"
                    ))
                } else {
                    RowVerdict::Wrong(operations())
                }
            }
            Self::OverByAtMost { requests, why } => {
                let over = counted.data().saturating_sub(truth.data());
                let short = counted.requests.get < truth.get
                    || counted.requests.set < truth.set
                    || counted.control_requests != truth.control;
                if short || over > requests {
                    RowVerdict::Wrong(operations())
                } else {
                    explained(&format!("{over} counted too many: {why}"))
                }
            }
            _ => RowVerdict::Wrong(operations()),
        }
    }

    /// Judges received payload bytes: those that the server read, and retransmitted ones. A retransmitted byte is seen
    /// only once if its first packet was dropped before the socket.
    pub(crate) fn judge_received(read: u64, repeated: u64, dropped_packets: u64, counted: u64) -> RowVerdict {
        let unseen = (read + repeated).saturating_sub(counted);
        if unseen == 0 || unseen > repeated.min(dropped_packets * LARGEST_PACKET) {
            return Self::judge_bytes(read + repeated, counted);
        }
        RowVerdict::Explained(format!(
            "{unseen} of {repeated} retransmitted bytes were seen once, because the interface had dropped \
             {dropped_packets} packets before the socket"
        ))
    }

    /// Judges payload bytes, which must be exact whatever happens to the requests in them.
    pub(crate) fn judge_bytes(truth: u64, counted: u64) -> RowVerdict {
        if truth == counted {
            RowVerdict::Exact
        } else {
            RowVerdict::Wrong(format!("{} bytes of {truth} are the difference", truth.abs_diff(counted)))
        }
    }
}

/// Returns how many heads of `truth` are missing; `None` if there are too many of any kind.
fn missing(truth: &Counts, counted: &ShardCounts) -> Option<u64> {
    let get = truth.get.checked_sub(counted.requests.get)?;
    let set = truth.set.checked_sub(counted.requests.set)?;
    let control = truth.control.checked_sub(counted.control_requests)?;
    Some(get + set + control)
}

/// Returns the reasons of unparsed segments, in words.
pub(crate) fn unparsed_words(counted: &ShardCounts) -> String {
    let reasons = counted.unparsed.iter().filter(|(_, number)| **number > 0);
    let words: Vec<String> = reasons.map(|(reason, number)| format!("{number} {reason}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn percent(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown to one decimal")]
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    format!("{percent:.1} %")
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::probe_api::ByOperation;

    fn judge(rule: Rule, (truth, counted): (u64, u64), unparsed: u64, agrees: Option<bool>) -> &'static str {
        let truth = Counts { get: truth, ..Counts::default() };
        let unparsed = [("gap".to_owned(), unparsed)].into();
        let requests = ByOperation { get: counted, set: 0 };
        let counted = ShardCounts { requests, unparsed, ..ShardCounts::default() };
        rule.judge(&truth, &counted, agrees).word()
    }

    #[test]
    fn exact_is_exact() {
        assert_eq!(judge(Rule::Exact, (5, 5), 0, Some(true)), "exact");
        assert_eq!(judge(Rule::Exact, (5, 4), 0, None), "WRONG");
        assert_eq!(judge(Rule::Exact, (5, 5), 1, None), "WRONG");
        assert_eq!(judge(Rule::ONE_AT_A_TIME, (5, 5), 1, None), "explained");
        assert_eq!(judge(Rule::ONE_AT_A_TIME, (5, 4), 1, None), "WRONG");
    }

    #[test]
    fn a_count_without_its_unparsed_reason_is_wrong() {
        let rule = Rule::ExactSaying { reason: "gap", why: "x" };
        assert_eq!(judge(rule, (5, 5), 1, None), "explained");
        assert_eq!(judge(rule, (5, 5), 0, None), "WRONG");
    }

    #[test]
    fn missing_needs_unparsed_segments_and_over_is_never_right() {
        let rule = Rule::NeverOver { heads_per_segment: 2, why: "x" };
        assert_eq!(judge(rule, (9, 9), 0, None), "exact");
        assert_eq!(judge(rule, (9, 5), 2, Some(false)), "explained");
        assert_eq!(judge(rule, (9, 4), 2, None), "WRONG");
        assert_eq!(judge(rule, (9, 10), 2, None), "WRONG");
        let rule = Rule::OverByAtMost { requests: 1, why: "x" };
        assert_eq!(judge(rule, (9, 10), 0, Some(false)), "explained");
        assert_eq!(judge(rule, (9, 11), 0, None), "WRONG");
        assert_eq!(judge(rule, (9, 8), 3, None), "WRONG");
    }

    #[test]
    fn a_repeat_of_what_was_dropped_is_seen_once() {
        let word = |dropped, counted| Rule::judge_received(100, 30, dropped, counted).word();
        assert_eq!((word(0, 130), word(2, 130)), ("exact", "exact"));
        assert_eq!((word(1, 129), word(1, 100)), ("explained", "explained"));
        assert_eq!((word(0, 129), word(1, 99), word(1, 131)), ("WRONG", "WRONG", "WRONG"));
        assert_eq!(Rule::judge_received(0, 100_000, 1, 34_465).word(), "explained");
        assert_eq!(Rule::judge_received(0, 100_000, 1, 34_464).word(), "WRONG");
    }

    #[test]
    fn the_probes_own_verdict_must_be_true() {
        assert_eq!(judge(Rule::Exact, (5, 5), 0, Some(false)), "WRONG");
        let rule = Rule::NeverOver { heads_per_segment: 2, why: "x" };
        assert_eq!(judge(rule, (9, 5), 2, Some(true)), "WRONG");
    }
}
