//! Notices when the probe no longer sees the shards' packets.
//!
//! Reading a shard's `/stats` sends packets to the shard. A shard that answers while the kernel counts no packet to it is
//! not seen. Its socket may belong to another cgroup, or to another host.

use service::health::Health;
use service::tasks::Tasks;

use crate::blindness::Blindness;
use crate::kernel::cgroup::Cgroup;
use crate::probe::Probe;

/// Answers in a row without a packet. One could be a race with a change of the kernel's table of endpoints.
const UNSEEN_ANSWERS: u32 = 2;

/// What one reading of a shard shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    /// The shard is not watched, or the kernel's counters cannot be read.
    Unwatched,
    /// The shard does not answer, or the kernel's table has just changed: nothing is known.
    Unknown,
    /// The shard answered, and the kernel counted packets to it.
    Seen,
    /// The shard answered, and the kernel counted no packet to it.
    Unseen,
}

/// State kept from reading to reading.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// Why the programs are detached. A cgroup never comes back, so this stays.
    detached: Option<String>,
    /// Per shard, the latest answers in a row without a packet.
    unseen: Vec<u32>,
}

impl Sight {
    /// Adds a reading of all shards.
    pub(crate) fn observe(&mut self, cgroup: &Cgroup, shards: &[Sighting]) -> Blindness {
        self.detached = self.detached.take().or_else(|| cgroup.problem());
        self.unseen.resize(shards.len(), 0);
        let shards = self.unseen.iter_mut().zip(shards).map(|(unseen, sighting)| {
            *unseen = if *sighting == Sighting::Unseen { unseen.saturating_add(1) } else { 0 };
            if self.detached.is_some() && *sighting != Sighting::Unwatched {
                return self.detached.clone();
            }
            (*unseen >= UNSEEN_ANSWERS).then(|| {
                let cgroup = cgroup.path().display();
                format!(
                    "the shard answers, but the probe sees none of its packets: its socket was opened outside \
                     the cgroup {cgroup}, or it is on another host"
                )
            })
        });
        let shards = shards.collect();
        Blindness { detached: self.detached.clone(), shards }
    }
}

/// What happens when the probe is blind.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    /// What `/ready` answers.
    pub(crate) health: Health,
    /// The process's tasks, if the process is to end.
    pub(crate) ends_when_blind: Option<Tasks>,
}

impl Alarm {
    /// Publishes for which shards the probe is blind. Logs changes.
    pub(crate) fn publish(&self, probe: &Probe, now: &Blindness) {
        let before = std::mem::replace(&mut *probe.blindness.lock(), now.clone());
        if before == *now {
            return;
        }
        match (&before.detached, &now.detached) {
            (None, Some(problem)) => tracing::error!(problem, "the probe is blind"),
            _ => tell(&before, now),
        }
        let problem = now.problem();
        if problem.is_some()
            && let Some(tasks) = &self.ends_when_blind
        {
            tracing::error!("the probe exits because it is blind (EXIT_WHEN_BLIND)");
            tasks.fail();
        }
        self.health.set_problem("sight", problem);
    }
}

/// Logs the shards that the probe no longer sees, or sees again.
fn tell(before: &Blindness, now: &Blindness) {
    let shards = before.shards.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    for (shard, (before, now)) in shards.zip(&now.shards).enumerate() {
        match (before, now) {
            (None, Some(problem)) => tracing::error!(shard, problem, "the probe is blind"),
            (Some(_), None) => tracing::info!(shard, "the probe sees the shard again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_not_seen_after_two_answers_in_a_row_without_a_packet() {
        use Sighting::{Seen, Unknown, Unseen, Unwatched};
        let cgroup = Cgroup::at("/no/such/cgroup".into());
        let mut sight = Sight::default();
        let mut blind = |sighting| sight.observe(&cgroup, &[Seen, sighting]).shards[1].is_some();
        let steps = [
            (Unseen, false),
            (Seen, false),
            (Unseen, false),
            // Down in between.
            (Unknown, false),
            (Unseen, false),
            (Unseen, true),
            (Unseen, true),
            (Seen, false),
            (Unseen, false),
            (Unwatched, false),
            (Unseen, false),
        ];
        for (at, (sighting, expected)) in steps.into_iter().enumerate() {
            assert_eq!(blind(sighting), expected, "step {at}");
        }
        assert_eq!(sight.observe(&cgroup, &[Seen, Seen]).problem(), None);
    }

    #[test]
    fn without_its_cgroup_the_probe_sees_no_shard_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("unit");
        std::fs::create_dir(&path).unwrap();
        let cgroup = Cgroup::at(path.clone());
        let mut sight = Sight::default();
        let shards = [Sighting::Seen, Sighting::Unknown, Sighting::Unwatched];
        assert_eq!(sight.observe(&cgroup, &shards).problem(), None);
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        let blind = |blindness: &Blindness| blindness.shards.iter().map(Option::is_some).collect::<Vec<_>>();
        let gone = sight.observe(&cgroup, &shards);
        assert_eq!(blind(&gone), [true, true, false]);
        assert!(gone.problem().unwrap().contains("unit was removed"));
        // A cgroup of the same name has none of the programs.
        std::fs::rename(folder.path().join("old"), &path).unwrap();
        assert_eq!(sight.observe(&cgroup, &shards), gone);
    }

    #[test]
    fn several_shards_are_named_in_one_sentence() {
        let why = || Some("why".to_owned());
        let blindness = Blindness { detached: None, shards: vec![why(), None, why()] };
        assert_eq!(blindness.problem().unwrap(), "the probe is blind for shard 0, 2: why");
    }
}
