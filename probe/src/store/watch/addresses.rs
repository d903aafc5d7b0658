//! Keeps the kernel's table of endpoints equal to the nodes' addresses and network namespaces.

use service::names::Names;
use store::urls::HostPort;

use super::StoreWatch;
use super::readout::Readout;
use crate::metrics::Lost;
use crate::store::link;
use crate::targets::{self, Lookup, Targets};

impl StoreWatch {
    /// Looks up the nodes' addresses and writes them to the kernel.
    pub(super) async fn look_up(&mut self) {
        let nodes = self.fleet.nodes().iter().map(|node| async {
            if node.role.is_none() {
                return Err("the node has left the cluster".to_owned());
            }
            addresses(&node.addresses, &self.hosts).await
        });
        let targets = targets::assemble(futures_util::future::join_all(nodes).await);
        if targets == self.targets && self.rejected.is_none() {
            return;
        }
        let old = self.targets.shards.iter().map(Some).chain(std::iter::repeat(None));
        for (at, (new, old)) in targets.shards.iter().zip(old).enumerate() {
            if old.is_some_and(|old| old.addresses == new.addresses) {
                continue;
            }
            self.namespaces.forget(at);
            if let Some(ledger) = self.ledgers.get_mut(at) {
                ledger.start_over();
            }
            // A connection to an old address must not answer for the new one.
            if let Some(link) = self.links.get_mut(at) {
                link.drop_client();
            }
        }
        self.write_listeners(&targets);
        for (node, target) in self.fleet.nodes().iter().zip(&targets.shards) {
            let (address, role) = (node.address(), node.role_name());
            match &target.problem {
                Some(problem) => tracing::warn!(address, role, problem, "not watched"),
                None => tracing::info!(address, role, "watched"),
            }
        }
        self.targets.clone_from(&targets);
        *self.probe.targets.lock() = targets;
    }

    /// Learns the network namespaces of nodes that have answered over new connections, and watches the nodes there. Returns
    /// for each node whether its namespace has changed.
    pub(super) fn learn_namespaces(&mut self, readouts: &[Option<Readout>]) -> Vec<bool> {
        let ends = readouts.iter().map(|readout| readout.as_ref()?.ends);
        let mut changed = self.namespaces.learn_all(&self.probe, &self.targets, ends);
        changed.resize(readouts.len(), false);
        for (ledger, _) in self.ledgers.iter_mut().zip(&changed).filter(|(_, changed)| **changed) {
            ledger.start_over();
        }
        if changed.contains(&true) {
            self.write_listeners(&self.targets.clone());
        }
        changed
    }

    /// Writes the nodes' endpoints and namespaces to the kernel.
    fn write_listeners(&mut self, targets: &Targets) {
        self.rejected = self.probe.watch(self.namespaces.listeners(targets)).err().map(|error| {
            tracing::error!(%error, "the nodes' addresses are not watched");
            self.probe.metrics.lost(Lost::WatchFailed);
            error.to_string()
        });
    }
}

/// All addresses of a node.
async fn addresses(all: &[HostPort], names: &Names) -> Lookup {
    let mut found = Vec::new();
    let mut problem = None;
    for one in all {
        match link::resolve(one, names).await {
            Ok(addresses) => found.extend(addresses),
            Err(error) => problem = Some(error.to_string()),
        }
    }
    if found.is_empty() {
        Err(problem.unwrap_or_else(|| "no address is known".to_owned()))
    } else {
        Ok(found)
    }
}
