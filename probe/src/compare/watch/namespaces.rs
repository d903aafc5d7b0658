//! Learns the network namespaces of the shards' addresses.
//!
//! A loopback address is in the probe's own namespace. Any other address is in the namespace of the socket that answers
//! the probe's connection to `/stats`, or to a store's node. A restarted shard gets a new connection, so its namespace is
//! learned again. An address whose namespace is not known is watched in every namespace.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use probe_common::endpoint::{Endpoint, Listener, UNKNOWN_NAMESPACE};

use super::Watch;
use super::bracket::ShardReadout;
use crate::compare::stats_client::Ends;
use crate::kernel::namespace;
use crate::metrics::Lost;
use crate::probe::Probe;
use crate::source::SourceError;
use crate::targets::{Target, Targets};

/// The namespaces, by cookie.
#[derive(Debug)]
pub(crate) struct Namespaces {
    own: u64,
    /// In order of id.
    learned: Vec<Learned>,
}

/// The namespaces of one shard's addresses that are not loopback.
#[derive(Clone, Debug, Default)]
struct Learned {
    cookies: BTreeMap<SocketAddr, u64>,
    /// The connection that they were last learned from.
    ends: Option<Ends>,
}

impl Namespaces {
    pub(crate) fn new(shards: usize) -> Self {
        let own = namespace::own().unwrap_or_else(|error| {
            tracing::warn!(%error, "the probe's network namespace cannot be read; every namespace is watched");
            UNKNOWN_NAMESPACE
        });
        Self { own, learned: vec![Learned::default(); shards] }
    }

    /// Drops what was learned of a shard, because its addresses have changed.
    pub(crate) fn forget(&mut self, shard: usize) {
        if let Some(learned) = self.learned.get_mut(shard) {
            *learned = Learned::default();
        }
    }

    /// The entries of the kernel's table.
    pub(crate) fn listeners(&self, targets: &Targets) -> BTreeMap<Endpoint, Listener> {
        let shards = (0..).zip(&targets.shards).zip(&self.learned);
        let listeners = shards.flat_map(|((shard, target), learned)| {
            target.addresses.iter().map(move |address| {
                let is_own = is_loopback(address);
                let cookie = learned.cookies.get(address).copied();
                let namespace = if is_own { self.own } else { cookie.unwrap_or(UNKNOWN_NAMESPACE) };
                (Endpoint::from(*address), Listener { namespace, shard, is_recorded: u32::from(!is_own) })
            })
        });
        listeners.collect()
    }

    /// Learns the namespaces of the shards from the probe's connections to them, in order of id. Returns for each whether
    /// something has changed.
    pub(crate) fn learn_all(
        &mut self,
        probe: &Probe,
        targets: &Targets,
        ends: impl Iterator<Item = Option<Ends>>,
    ) -> Vec<bool> {
        let learned = ends.zip(&targets.shards).enumerate().map(|(shard, (ends, target))| {
            let Some(ends) = ends else { return false };
            self.learn(probe, shard, target, ends).unwrap_or_else(|error| {
                tracing::error!(shard, %error, "the shard's network namespace cannot be read");
                probe.metrics.lost(Lost::CountersUnreadable);
                false
            })
        });
        learned.collect()
    }

    /// Learns a shard's namespace from the probe's connection `ends`. Returns whether something has changed.
    fn learn(
        &mut self,
        probe: &Probe,
        shard: usize,
        target: &Target,
        ends: Ends,
    ) -> Result<bool, SourceError> {
        let Some(learned) = self.learned.get_mut(shard).filter(|learned| learned.ends != Some(ends)) else {
            return Ok(false);
        };
        let mut found = BTreeMap::new();
        // The network may have translated the server's address, so look for all addresses of the shard.
        for address in target.addresses.iter().filter(|address| !is_loopback(address)) {
            if let Some(cookie) = probe.source()?.namespace(ends.client.into(), (*address).into())? {
                found.insert(*address, cookie);
            }
        }
        // Another address may still be in the namespace that it was found in before.
        let kept = |(_, cookie): &(&SocketAddr, &u64)| found.values().any(|found| found == *cookie);
        let mut cookies: BTreeMap<_, _> =
            learned.cookies.iter().filter(kept).map(|(address, cookie)| (*address, *cookie)).collect();
        cookies.extend(found);
        let before = std::mem::replace(learned, Learned { cookies, ends: Some(ends) });
        Ok(before.cookies != learned.cookies)
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

impl Watch {
    /// Learns the namespaces of shards that have answered over new connections, and watches the shards there. Returns
    /// for each shard whether its namespace has changed.
    pub(super) fn learn_namespaces(&mut self, readouts: &[Option<ShardReadout>]) -> Vec<bool> {
        let ends = readouts.iter().map(|readout| readout.as_ref()?.ends);
        let mut changed = self.namespaces.learn_all(&self.probe, &self.targets, ends);
        changed.resize(readouts.len(), false);
        if !changed.contains(&true) {
            return changed;
        }
        if let Err(error) = self.watch_listeners(&self.targets) {
            tracing::error!(%error, "the shards' network namespaces are not watched");
            self.probe.metrics.lost(Lost::WatchFailed);
            // The next answers try again.
            changed
                .iter()
                .enumerate()
                .filter(|(_, changed)| **changed)
                .for_each(|(shard, _)| self.namespaces.forget(shard));
        }
        for (shard, _) in changed.iter().enumerate().filter(|(_, changed)| **changed) {
            self.start_over(shard);
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use service::metrics::Metrics;

    use super::*;
    use crate::kernel::cgroup::Cgroup;
    use crate::kernel::object::Switches;
    use crate::metrics::ProbeMetrics;
    use crate::source::ReplaySource;
    use protocol::shard_urls::ShardUrls;

    fn ends(port: u16) -> Ends {
        Ends { client: ([10, 0, 0, 9], port).into(), server: ([10, 0, 0, 1], 9000).into() }
    }

    /// A probe whose kernel has recorded these servers' namespaces.
    fn probe(namespaces: &[(SocketAddr, u64)]) -> Probe {
        let namespaces = namespaces.iter().map(|(address, cookie)| (Endpoint::from(*address), *cookie));
        let mut source = ReplaySource::default();
        source.namespaces = namespaces.collect();
        let urls = ShardUrls::parse("http://shard:9000").unwrap();
        let metrics = ProbeMetrics::register(&Metrics::default(), 1).unwrap();
        Probe::new(
            urls,
            Cgroup::at("/cgroup".into()),
            Vec::new(),
            Switches::default(),
            metrics,
            Box::new(source),
        )
    }

    #[test]
    fn a_loopback_address_is_in_the_probes_own_namespace() {
        let own = namespace::own().unwrap();
        let at = |address: &str| address.parse::<SocketAddr>().unwrap();
        let addresses = vec![at("127.0.1.1:9000"), at("[::1]:9000"), at("[::ffff:127.0.0.1]:9001")];
        let target = Target { addresses, problem: None };
        let targets = Targets { shards: vec![target.clone()], ..Targets::default() };
        let mut namespaces = Namespaces::new(1);
        assert!(!namespaces.learn(&probe(&[]), 0, &target, ends(1)).unwrap());
        let listeners = namespaces.listeners(&targets);
        assert_eq!(listeners.len(), 3);
        let expected = Listener { namespace: own, shard: 0, is_recorded: 0 };
        assert!(listeners.values().all(|listener| *listener == expected), "{listeners:?}");
    }

    #[test]
    fn another_address_is_in_the_namespace_that_answers_the_last_connection() {
        let (v4, v6) = (SocketAddr::from(([10, 0, 0, 1], 9000)), "[fd00::1]:9000".parse().unwrap());
        let target = Target { addresses: vec![v4, v6], problem: None };
        let targets = Targets { shards: vec![target.clone()], ..Targets::default() };
        let mut namespaces = Namespaces::new(1);
        let cookies = |namespaces: &Namespaces| {
            let listeners = namespaces.listeners(&targets);
            assert!(listeners.values().all(|listener| listener.is_recorded == 1));
            [v4, v6].map(|address| listeners[&Endpoint::from(address)].namespace)
        };
        assert_eq!(cookies(&namespaces), [0, 0]);
        let mut learn = |found: &[(SocketAddr, u64)], port| {
            let changed = namespaces.learn(&probe(found), 0, &target, ends(port)).unwrap();
            (changed, cookies(&namespaces))
        };
        assert_eq!(learn(&[(v4, 7)], 1), (true, [7, 0]));
        // The same connection again.
        assert_eq!(learn(&[(v4, 8)], 1), (false, [7, 0]));
        // A connection to the other address in the same namespace.
        assert_eq!(learn(&[(v6, 7)], 2), (true, [7, 7]));
        // A restarted shard in another namespace.
        assert_eq!(learn(&[(v6, 9)], 3), (true, [0, 9]));
        // No socket of this host accepted the connection.
        assert_eq!(learn(&[], 4), (true, [0, 0]));
    }
}
