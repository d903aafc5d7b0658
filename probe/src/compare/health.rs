//! Decides from health checks and from the kernel's counts whether shards answer.
//!
//! A shard that answers its clients is not down, even if the probe cannot read its `/stats`: in a cluster a policy or an
//! overloaded node may stop the probe's connections alone.

use hotspot::judge::Evidence;

/// The result of one health check, with the kernel's count at that moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    /// Whether the shard answered the probe; `None` if the probe did not ask.
    pub(crate) is_readable: Option<bool>,
    /// Data requests that the shard has answered since counting began.
    pub(crate) answered: u64,
}

/// The answered requests of each shard when it was last judged.
#[derive(Debug, Default)]
pub(crate) struct Health {
    answered: Vec<u64>,
}

impl Health {
    /// The evidence since the last call, for all shards in order of id.
    pub(crate) fn since(&mut self, checks: impl Iterator<Item = Option<Check>>) -> Vec<Evidence> {
        let checks: Vec<_> = checks.collect();
        let is_first = self.answered.len() < checks.len();
        self.answered.resize(checks.len(), 0);
        let evidence = checks.into_iter().zip(&mut self.answered).map(|(check, before)| {
            let Some(Check { is_readable, answered }) = check else { return Evidence::default() };
            let grown = answered.saturating_sub(std::mem::replace(before, answered));
            Evidence {
                answered: u64::from(is_readable == Some(true)) + if is_first { 0 } else { grown },
                failed: u64::from(is_readable == Some(false)),
            }
        });
        evidence.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_answers_clients_has_answered() {
        let mut health = Health::default();
        let check = |is_readable, answered| Some(Check { is_readable, answered });
        let mut evidence = |first, second| {
            let found = health.since([first, second].into_iter());
            [(found[0].answered, found[0].failed), (found[1].answered, found[1].failed)]
        };
        // Requests from before the first check are old.
        assert_eq!(evidence(check(Some(true), 70), check(Some(false), 90)), [(1, 0), (0, 1)]);
        assert_eq!(evidence(check(Some(false), 75), check(Some(false), 90)), [(5, 1), (0, 1)]);
        // Without a check the counts wait. A count that fell has begun again.
        assert_eq!(evidence(None, check(None, 95)), [(0, 0), (5, 0)]);
        assert_eq!(evidence(check(Some(false), 76), check(Some(true), 3)), [(1, 1), (1, 0)]);
    }
}
