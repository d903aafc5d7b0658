//! The kernel's table of endpoints: address and port to shard.

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use probe_common::endpoint::Endpoint;

use crate::kernel::error::ObjectError;

/// The maps `SHARDS` and `CHANGES`.
pub struct EndpointsMap {
    shards: HashMap<MapData, Endpoint, u32>,
    changes: Array<MapData, u32>,
    /// What is in `SHARDS`.
    watched: BTreeMap<Endpoint, u32>,
    /// Whether `CHANGES` has been moved since `SHARDS` was changed, as far as is known.
    told: bool,
}

impl EndpointsMap {
    /// The table's name in the object.
    pub const NAME: &str = "SHARDS";

    /// The name of the counter of its changes: what the programs keep in a socket holds until the next one.
    pub const CHANGES: &str = "CHANGES";

    /// Takes the maps, with what a probe before has left in them.
    ///
    /// # Errors
    /// When they are of another type, or what is in them cannot be read.
    pub fn new(shards: Map, changes: Map) -> Result<Self, ObjectError> {
        let shards: HashMap<_, Endpoint, u32> =
            HashMap::try_from(shards).map_err(|_| ObjectError::Missing { what: Self::NAME })?;
        let changes = Array::try_from(changes).map_err(|_| ObjectError::Missing { what: Self::CHANGES })?;
        let watched = shards.iter().collect::<Result<_, MapError>>();
        let watched = watched.map_err(|error| ObjectError::unreadable(Self::NAME, &error))?;
        // The probe before may have ended between the two.
        Ok(Self { shards, changes, watched, told: false })
    }

    /// What is in the table.
    #[must_use]
    pub fn watched(&self) -> &BTreeMap<Endpoint, u32> {
        &self.watched
    }

    /// Makes the table hold these endpoints, and no others.
    ///
    /// # Errors
    /// When the kernel refuses a change; those made before it stay.
    pub fn set(&mut self, endpoints: &BTreeMap<Endpoint, u32>) -> Result<(), MapError> {
        if self.told && self.watched == *endpoints {
            return Ok(());
        }
        self.told = false;
        let changed = self.change(endpoints);
        // Also when it has changed in part.
        let told = self.tell();
        self.told = told.is_ok();
        changed.and(told)
    }

    fn tell(&mut self) -> Result<(), MapError> {
        let before = self.changes.get(&0, 0)?;
        self.changes.set(0, before.wrapping_add(1), 0)
    }

    /// One after the other, so that `watched` is true of the map even when the kernel refuses one.
    fn change(&mut self, endpoints: &BTreeMap<Endpoint, u32>) -> Result<(), MapError> {
        let gone = self.watched.keys().filter(|endpoint| !endpoints.contains_key(endpoint));
        for gone in gone.copied().collect::<Vec<_>>() {
            self.shards.remove(&gone)?;
            self.watched.remove(&gone);
        }
        for (endpoint, shard) in endpoints {
            if self.watched.get(endpoint) != Some(shard) {
                self.shards.insert(endpoint, shard, 0)?;
                self.watched.insert(*endpoint, *shard);
            }
        }
        Ok(())
    }
}
