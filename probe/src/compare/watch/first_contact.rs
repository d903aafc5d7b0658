//! Recognizes shards that the probe has not reached yet.
//!
//! In a cluster the first packets of a new pod can be dropped, because the nodes admit its address a moment later. So a
//! shard at new addresses that does not answer in time is not taken for unreadable during the first seconds.

use std::time::Duration;

use super::bracket::ShardReadout;
use crate::compare::stats_client;

/// Time after which a shard without an answer is unreadable.
const LIMIT: Duration = Duration::from_secs(10);

/// One shard at its present addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FirstContact {
    /// When it was first read.
    since: Option<Duration>,
    /// Whether it has answered or refused, so that packets pass.
    is_reached: bool,
}

impl FirstContact {
    /// Takes in a reading. Returns whether the probe still waits for the first contact.
    pub(super) fn observe(&mut self, now: Duration, readout: Option<&ShardReadout>) -> bool {
        let Some(readout) = readout else { return false };
        let is_late = readout.bracket.app.as_ref().is_err_and(|problem| stats_client::is_late(problem));
        self.is_waiting(now, is_late)
    }

    fn is_waiting(&mut self, now: Duration, is_late: bool) -> bool {
        let since = *self.since.get_or_insert(now);
        self.is_reached |= !is_late;
        !self.is_reached && now.saturating_sub(since) < LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_waited_for_until_it_answers_or_the_time_is_over() {
        let seconds = Duration::from_secs;
        let mut contact = FirstContact::default();
        assert!(contact.is_waiting(seconds(100), true));
        assert!(contact.is_waiting(seconds(109), true));
        assert!(!contact.is_waiting(seconds(110), true));
        let mut contact = FirstContact::default();
        assert!(contact.is_waiting(seconds(1), true));
        assert!(!contact.is_waiting(seconds(2), false));
        assert!(!contact.is_waiting(seconds(3), true), "it was reached");
    }
}
