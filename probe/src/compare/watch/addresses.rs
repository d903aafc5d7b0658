//! Keeps the kernel's table of endpoints equal to the shards' addresses.

use crate::metrics::Lost;
use crate::source::SourceError;
use crate::targets::{self, Target, Targets};

use super::Watch;
use super::first_contact::FirstContact;

impl Watch {
    /// Looks up the shards' addresses and writes them to the kernel.
    pub(super) async fn look_up(&mut self) {
        let targets = match &mut self.pods {
            Some(pods) => targets::assemble(pods.lookups()),
            None => targets::resolve(&self.shards, self.stats.names()).await,
        };
        if targets == self.targets {
            return;
        }
        if targets.endpoints != self.targets.endpoints {
            let changed = self.start_over_changed(&targets);
            // Connections to old addresses must not answer for the new ones.
            self.stats = self.stats.renewed();
            if let Err(error) = self.watch_listeners(&targets) {
                tracing::error!(%error, "the shards' new addresses are not watched");
                self.probe.metrics.lost(Lost::WatchFailed);
                self.mark_unwatched(targets, &changed, &error);
                return;
            }
        }
        self.unwatched = targets.shards.iter().map(|target| target.problem.clone()).collect();
        for (shard, target) in targets.shards.iter().enumerate() {
            if self.targets.shards.get(shard) == Some(target) {
                continue;
            }
            match &target.problem {
                // Another node's probe watches it.
                Some(problem) if self.pods.as_ref().is_some_and(|pods| pods.has_none(shard)) => {
                    tracing::info!(shard, problem, "not watched");
                }
                Some(problem) => tracing::warn!(shard, problem, "not watched"),
                None => tracing::info!(shard, addresses = ?target.addresses, "watched"),
            }
        }
        for _ in 0..targets.over_limit {
            self.probe.metrics.lost(Lost::AddressOverLimit);
        }
        self.targets.clone_from(&targets);
        *self.probe.targets.lock() = targets;
    }

    /// Drops the state of shards whose addresses have changed. Returns for each shard whether they have.
    fn start_over_changed(&mut self, targets: &Targets) -> Vec<bool> {
        let old = self.targets.shards.iter().map(Some).chain(std::iter::repeat(None));
        let changed = targets.shards.iter().zip(old);
        let changed: Vec<bool> =
            changed.map(|(new, old)| old.is_none_or(|old| old.addresses != new.addresses)).collect();
        for (shard, _) in changed.iter().enumerate().filter(|(_, changed)| **changed) {
            self.namespaces.forget(shard);
            if let Some(contact) = self.contacts.get_mut(shard) {
                *contact = FirstContact::default();
            }
            self.start_over(shard);
        }
        changed
    }

    /// Drops the state of a shard, because the kernel counts something else from now on.
    pub(super) fn start_over(&mut self, shard: usize) {
        if let Some(ledger) = self.ledgers.get_mut(shard) {
            ledger.start_over();
        }
        if let Some(hot_keys) = self.hot_keys.get_mut(shard) {
            hot_keys.start_over();
        }
        if let Some(gateway) = &mut self.gateway {
            gateway.start_over(shard);
        }
    }

    /// Writes the shards' endpoints and namespaces to the kernel.
    pub(super) fn watch_listeners(&self, targets: &Targets) -> Result<(), SourceError> {
        self.probe.watch(self.namespaces.listeners(targets))
    }

    /// Marks shards after the kernel rejected these addresses. It may watch none of the `changed` shards' old or new
    /// ones.
    fn mark_unwatched(&mut self, mut targets: Targets, changed: &[bool], error: &SourceError) {
        for (shard, _) in changed.iter().enumerate().filter(|(_, changed)| **changed) {
            let why = format!("the kernel rejected its addresses: {error}");
            if let Some(target) = targets.shards.get_mut(shard) {
                target.problem = Some(why.clone());
            }
            if let Some(unwatched) = self.unwatched.get_mut(shard) {
                *unwatched = Some(why);
            }
            if let Some(taken) = self.targets.shards.get_mut(shard) {
                // No lookup returns this target, so the next lookup counts as a change.
                *taken = Target { addresses: Vec::new(), problem: Some(String::new()) };
            }
        }
        self.targets.endpoints.clear();
        *self.probe.targets.lock() = targets;
    }
}
