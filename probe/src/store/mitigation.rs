//! Predicts the hottest node's share under each mitigation.
//!
//! All shares refer to the commands that clients send now, so that they can be compared. Each prediction is a formula
//! over measured figures: the primaries' shares, the key's share p, the part f of reads, and the number of replicas.

use protocol::probe_api::{StoreMeasure, StoreMitigation};

/// The measured load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// Shares of the primaries; they add up to 1.
    pub(crate) shares: Vec<f64>,
    /// The hottest of them.
    pub(crate) hottest: usize,
    /// The hot key's share of all commands, if one key is hot.
    pub(crate) key: Option<f64>,
    /// The part of the hottest primary's commands that reads.
    pub(crate) reads: f64,
    /// Replicas of the hottest primary.
    pub(crate) replicas: usize,
    /// Clients connected to it; `None` if the store's counts cannot be read.
    pub(crate) clients: Option<u64>,
}

/// All mitigations that apply, with the lowest hottest share first.
pub(crate) fn predict(load: &Load) -> Vec<StoreMitigation> {
    let mut all = vec![one(StoreMeasure::Nothing, load.hottest_share(), "as it is now")];
    all.extend(load.replica_reads());
    if let Some(key) = load.key {
        all.extend(load.client_side_cache(key));
        all.extend(load.split_key(key));
        all.extend(load.more_copies(key));
    }
    all.extend(load.move_slots());
    all.sort_by(|a, b| a.hottest_share.total_cmp(&b.hottest_share));
    all
}

fn one(mitigation: StoreMeasure, hottest_share: f64, note: impl Into<String>) -> StoreMitigation {
    StoreMitigation { mitigation, hottest_share, note: note.into() }
}

impl Load {
    fn hottest_share(&self) -> f64 {
        self.shares.get(self.hottest).copied().unwrap_or_default()
    }

    /// The largest share of the other primaries.
    fn others(&self) -> f64 {
        let others = self.shares.iter().enumerate().filter(|(at, _)| *at != self.hottest);
        others.map(|(_, share)| *share).fold(0.0, f64::max)
    }

    fn nodes(&self) -> f64 {
        float(self.shares.len())
    }

    fn replica_reads(&self) -> Option<StoreMitigation> {
        if self.replicas == 0 {
            return None;
        }
        let (share, copies) = (self.hottest_share(), 1.0 + float(self.replicas));
        let primary = share * (1.0 - self.reads) + share * self.reads / copies;
        let note = format!(
            "{} of the shard's commands are reads, and {} nodes serve them; replicas may return older values",
            copies,
            percent(self.reads)
        );
        Some(one(StoreMeasure::ReplicaReads, primary.max(self.others()), note))
    }

    /// Each write makes every client read the key once more, at most.
    fn client_side_cache(&self, key: f64) -> Option<StoreMitigation> {
        let clients = self.clients?;
        let (reads, writes) = (key * self.reads, key * (1.0 - self.reads));
        let left = reads.min(writes * float(usize::try_from(clients).unwrap_or(usize::MAX)));
        let primary = self.hottest_share() - reads + left;
        let note = format!(
            "{clients} clients cache the key (CLIENT TRACKING); after each write all of them read it again"
        );
        Some(one(StoreMeasure::ClientSideCache, primary.max(self.others()), note))
    }

    fn split_key(&self, key: f64) -> Option<StoreMitigation> {
        if self.shares.len() < 2 {
            return None;
        }
        let part = key / self.nodes();
        let share = (self.hottest_share() - key + part).max(self.others() + part);
        let note = format!(
            "{} parts with names in different slots; a read of the whole value reads all parts",
            self.nodes()
        );
        Some(one(StoreMeasure::SplitKey, share, note))
    }

    fn more_copies(&self, key: f64) -> Option<StoreMitigation> {
        if self.shares.len() < 2 {
            return None;
        }
        let part = key * self.reads / self.nodes() + key * (1.0 - self.reads);
        let share = (self.hottest_share() - key + part).max(self.others() + part);
        let note =
            format!("{} copies with names in different slots; each write goes to every copy", self.nodes());
        Some(one(StoreMeasure::MoreCopies, share, note))
    }

    /// The best that any placement of slots can do: no slot, and so no key, is divided.
    fn move_slots(&self) -> Option<StoreMitigation> {
        if self.shares.len() < 2 {
            return None;
        }
        let best = (1.0 / self.nodes()).max(self.key.unwrap_or_default());
        let note = match self.key {
            Some(_) => "the best possible placement; the hot key stays on one shard",
            None => "the best possible placement",
        };
        Some(one(StoreMeasure::MoveSlots, best, note))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of nodes or clients")]
fn float(number: usize) -> f64 {
    number as f64
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(load: &Load, measure: StoreMeasure) -> Option<f64> {
        predict(load).into_iter().find(|one| one.mitigation == measure).map(|one| one.hottest_share)
    }

    fn close(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 1e-9), "{found:?}, not {expected}");
    }

    #[test]
    fn a_read_only_celebrity_on_three_shards() {
        let load = Load {
            shares: vec![0.8, 0.1, 0.1],
            hottest: 0,
            key: Some(0.75),
            reads: 1.0,
            replicas: 1,
            clients: Some(8),
        };
        close(share(&load, StoreMeasure::Nothing), 0.8);
        close(share(&load, StoreMeasure::ReplicaReads), 0.4);
        // The rest of the hot shard is 0.05, so another one is the hottest.
        close(share(&load, StoreMeasure::ClientSideCache), 0.1);
        close(share(&load, StoreMeasure::SplitKey), 0.35);
        close(share(&load, StoreMeasure::MoreCopies), 0.35);
        close(share(&load, StoreMeasure::MoveSlots), 0.75);
        assert_eq!(predict(&load)[0].mitigation, StoreMeasure::ClientSideCache);
    }

    #[test]
    fn writes_defeat_caches_copies_and_replicas_but_not_splitting() {
        let load = Load {
            shares: vec![0.8, 0.1, 0.1],
            hottest: 0,
            key: Some(0.75),
            reads: 0.0,
            replicas: 1,
            clients: Some(8),
        };
        close(share(&load, StoreMeasure::ReplicaReads), 0.8);
        close(share(&load, StoreMeasure::ClientSideCache), 0.8);
        close(share(&load, StoreMeasure::MoreCopies), 0.85);
        close(share(&load, StoreMeasure::SplitKey), 0.35);
        assert_eq!(predict(&load)[0].mitigation, StoreMeasure::SplitKey);
    }

    #[test]
    fn one_shard_has_nowhere_to_split_to() {
        let load =
            Load { shares: vec![1.0], key: Some(0.9), reads: 0.9, clients: Some(2), ..Load::default() };
        let found: Vec<StoreMeasure> = predict(&load).into_iter().map(|one| one.mitigation).collect();
        assert_eq!(found, [StoreMeasure::ClientSideCache, StoreMeasure::Nothing]);
        assert_eq!(share(&load, StoreMeasure::ReplicaReads), None);
    }

    #[test]
    fn without_a_hot_key_moving_slots_balances() {
        let load = Load { shares: vec![0.6, 0.2, 0.2], reads: 0.5, replicas: 1, ..Load::default() };
        close(share(&load, StoreMeasure::MoveSlots), 1.0 / 3.0);
        close(share(&load, StoreMeasure::ReplicaReads), 0.45);
        assert_eq!(share(&load, StoreMeasure::SplitKey), None);
    }
}
