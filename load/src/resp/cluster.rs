//! Holds the owner of each slot, and reads the owners anew after a redirection.

use parking_lot::RwLock;
use protocol::ShardId;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store::client::Client;
use store::error::StoreError;
use store::info::Role;
use store::slot::{SLOTS, slot};
use store::topology::Topology;
use store::urls::{HostPort, StoreUrls};

use crate::address::reachable;
use crate::error::RunError;
use crate::keys::KeySpace;

/// Minimum time between two readings of the owners.
const REFRESH_INTERVAL: Duration = Duration::from_millis(100);

/// A store: a cluster, or a single node that owns all slots.
pub struct Cluster {
    /// Number of primaries with slots.
    pub shards: NonZeroU32,
    owners: RwLock<Arc<Owners>>,
    refreshed: tokio::sync::Mutex<Instant>,
    redirected: AtomicU64,
}

/// The owners of all slots.
struct Owners {
    /// The primaries in order of their first slot, which is the order of `probe watch`.
    primaries: Vec<SocketAddr>,
    /// By slot, an index into `primaries`.
    by_slot: Vec<usize>,
    /// All nodes, for the next reading.
    nodes: Vec<HostPort>,
}

impl Cluster {
    /// Reads the owners of all slots from the first node that answers.
    ///
    /// # Errors
    /// Returns an error when no node answers, or a slot has no owner.
    pub async fn discover(urls: &StoreUrls) -> Result<Self, RunError> {
        let mut why = String::new();
        for url in urls.iter() {
            match Owners::read(url).await {
                Ok(owners) if owners.nodes.is_empty() && urls.count() > 1 => {
                    why = "several nodes without a cluster; give one".to_owned();
                }
                Ok(owners) => {
                    let shards = u32::try_from(owners.primaries.len()).ok().and_then(NonZeroU32::new);
                    return Ok(Self {
                        shards: shards.unwrap_or(NonZeroU32::MIN),
                        owners: RwLock::new(Arc::new(owners)),
                        refreshed: tokio::sync::Mutex::new(Instant::now()),
                        redirected: AtomicU64::new(0),
                    });
                }
                Err(error) => why = error,
            }
        }
        Err(RunError::Store { urls: urls.to_string(), why })
    }

    /// The owner of a slot.
    pub(super) fn owner(&self, slot: u16) -> SocketAddr {
        let owners = self.owners.read();
        owners.primaries[owners.by_slot[usize::from(slot)]]
    }

    /// The shard of a slot: the position of its owner among the primaries. A failover does not change it.
    pub(super) fn shard(&self, slot: u16) -> ShardId {
        let owner = self.owners.read().by_slot[usize::from(slot)];
        ShardId(u32::try_from(owner).unwrap_or(u32::MAX))
    }

    /// The shard of each key.
    #[must_use]
    pub fn owners(&self, keys: &KeySpace) -> Vec<ShardId> {
        keys.keys().iter().map(|key| self.shard(slot(key.as_str().as_bytes()))).collect()
    }

    /// Number of redirected commands so far.
    #[must_use]
    pub fn redirected(&self) -> u64 {
        self.redirected.load(Ordering::Relaxed)
    }

    /// Counts a redirected command.
    pub(super) fn count_redirection(&self) {
        self.redirected.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads the owners anew. While one task reads, the others go on with the old owners.
    pub(super) async fn refresh(&self) {
        let Ok(mut refreshed) = self.refreshed.try_lock() else { return };
        if refreshed.elapsed() < REFRESH_INTERVAL {
            return;
        }
        let nodes = self.owners.read().nodes.clone();
        for node in &nodes {
            // During a failover, slots have no owner. The old owners stay until there is a new one.
            if let Ok(owners) = Owners::read(node).await {
                *self.owners.write() = Arc::new(owners);
                break;
            }
        }
        *refreshed = Instant::now();
    }
}

impl Owners {
    /// Asks one node. Without a cluster the node owns all slots, and `nodes` is empty.
    async fn read(node: &HostPort) -> Result<Self, String> {
        let address = resolve(node).await?;
        let plain = |error: StoreError| match error {
            StoreError::PasswordRequired { address } => {
                format!("{address} requires a password, and `load` sends none; give a store without one")
            }
            error => error.to_string(),
        };
        let mut client = Client::connect(address, None).await.map_err(plain)?;
        match client.topology(node).await {
            Ok(topology) => Self::of(&topology).await,
            Err(StoreError::Refused { error, .. }) if error.contains("cluster support disabled") => {
                Ok(Self { primaries: vec![address], by_slot: vec![0; usize::from(SLOTS)], nodes: Vec::new() })
            }
            Err(error) => Err(plain(error)),
        }
    }

    async fn of(topology: &Topology) -> Result<Self, String> {
        const NONE: usize = usize::MAX;
        let (mut primaries, mut by_slot) = (Vec::new(), vec![NONE; usize::from(SLOTS)]);
        let alive = topology.nodes.iter().filter(|node| node.role == Role::Primary && !node.has_failed);
        for node in alive.filter(|node| !node.slots.is_empty()) {
            let address = node.addresses.first().ok_or("a primary has no address")?;
            for range in &node.slots {
                by_slot[usize::from(range.first)..=usize::from(range.last)].fill(primaries.len());
            }
            primaries.push(resolve(address).await?);
        }
        if let Some(slot) = by_slot.iter().position(|owner| *owner == NONE) {
            return Err(format!("slot {slot} has no owner; check `redis-cli --cluster check`"));
        }
        let nodes = topology.nodes.iter().filter_map(|node| node.addresses.first().cloned());
        Ok(Self { primaries, by_slot, nodes: nodes.collect() })
    }
}

async fn resolve(node: &HostPort) -> Result<SocketAddr, String> {
    let found = reachable((node.host.as_str(), node.port)).await;
    found.map_err(|error| format!("{} has no address ({error})", node.host))
}
