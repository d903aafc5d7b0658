//! Maintains the kernel's table of endpoints: address and port to shard.

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use probe_common::endpoint::Endpoint;

use crate::kernel::error::ObjectError;

/// The maps `SHARDS` and `CHANGES`.
pub struct EndpointsMap {
    shards: HashMap<MapData, Endpoint, u32>,
    changes: Array<MapData, u32>,
    /// The entries of `SHARDS`.
    watched: BTreeMap<Endpoint, u32>,
    /// Whether `CHANGES` is known to have been incremented since `SHARDS` last changed.
    told: bool,
}

impl EndpointsMap {
    /// The name of the map in the object.
    pub const NAME: &str = "SHARDS";

    /// The name of the map with the counter of changes. A shard that the programs cache in a socket is valid until the
    /// next change.
    pub const CHANGES: &str = "CHANGES";

    /// Takes the maps, including the entries of an earlier probe.
    ///
    /// # Errors
    /// When a map has another type, or its entries cannot be read.
    pub fn new(shards: Map, changes: Map) -> Result<Self, ObjectError> {
        let shards: HashMap<_, Endpoint, u32> =
            HashMap::try_from(shards).map_err(|_| ObjectError::Missing { what: Self::NAME })?;
        let changes = Array::try_from(changes).map_err(|_| ObjectError::Missing { what: Self::CHANGES })?;
        let watched = shards.iter().collect::<Result<_, MapError>>();
        let watched = watched.map_err(|error| ObjectError::unreadable(Self::NAME, &error))?;
        // An earlier probe may have ended between changing `SHARDS` and incrementing `CHANGES`.
        Ok(Self { shards, changes, watched, told: false })
    }

    /// The entries of the table.
    #[must_use]
    pub fn watched(&self) -> &BTreeMap<Endpoint, u32> {
        &self.watched
    }

    /// Replaces the entries of the table with these endpoints.
    ///
    /// # Errors
    /// When the kernel rejects a change. Earlier changes stay.
    pub fn set(&mut self, endpoints: &BTreeMap<Endpoint, u32>) -> Result<(), MapError> {
        if self.told && self.watched == *endpoints {
            return Ok(());
        }
        self.told = false;
        let changed = self.change(endpoints);
        // A partial change must also be announced.
        let told = self.tell();
        self.told = told.is_ok();
        changed.and(told)
    }

    fn tell(&mut self) -> Result<(), MapError> {
        let before = self.changes.get(&0, 0)?;
        self.changes.set(0, before.wrapping_add(1), 0)
    }

    /// Applies one change at a time, so that `watched` matches the map even when the kernel rejects one.
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
