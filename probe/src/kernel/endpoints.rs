//! Maintains the kernel's table of endpoints: address and port to shard and network namespace.

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use probe_common::endpoint::{ConnectionKey, Endpoint, Listener};

use crate::kernel::error::ObjectError;

/// The maps `SHARDS` and `CHANGES`.
pub struct EndpointsMap {
    shards: HashMap<MapData, Endpoint, Listener>,
    changes: Array<MapData, u32>,
    /// The entries of `SHARDS`.
    watched: BTreeMap<Endpoint, Listener>,
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
        let shards: HashMap<_, Endpoint, Listener> =
            HashMap::try_from(shards).map_err(|_| ObjectError::Missing { what: Self::NAME })?;
        let changes = Array::try_from(changes).map_err(|_| ObjectError::Missing { what: Self::CHANGES })?;
        let watched = shards.iter().collect::<Result<_, MapError>>();
        let watched = watched.map_err(|error| ObjectError::unreadable(Self::NAME, &error))?;
        // An earlier probe may have ended between changing `SHARDS` and incrementing `CHANGES`.
        Ok(Self { shards, changes, watched, told: false })
    }

    /// The entries of the table.
    #[must_use]
    pub fn watched(&self) -> &BTreeMap<Endpoint, Listener> {
        &self.watched
    }

    /// Replaces the entries of the table with these endpoints.
    ///
    /// # Errors
    /// When the kernel rejects a change. Earlier changes stay.
    pub fn set(&mut self, endpoints: &BTreeMap<Endpoint, Listener>) -> Result<(), MapError> {
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
    fn change(&mut self, endpoints: &BTreeMap<Endpoint, Listener>) -> Result<(), MapError> {
        let gone = self.watched.keys().filter(|endpoint| !endpoints.contains_key(endpoint));
        for gone in gone.copied().collect::<Vec<_>>() {
            self.shards.remove(&gone)?;
            self.watched.remove(&gone);
        }
        for (endpoint, listener) in endpoints {
            if self.watched.get(endpoint) != Some(listener) {
                self.shards.insert(endpoint, listener, 0)?;
                self.watched.insert(*endpoint, *listener);
            }
        }
        Ok(())
    }
}

/// The map `ACCEPTED`: the network namespaces that accepted recent connections.
pub struct AcceptedMap(HashMap<MapData, ConnectionKey, u64>);

impl AcceptedMap {
    /// The map's name in the object.
    pub const NAME: &str = "ACCEPTED";

    /// Takes the map.
    ///
    /// # Errors
    /// When it has another type.
    pub fn new(map: Map) -> Result<Self, ObjectError> {
        HashMap::try_from(map).map(Self).map_err(|_| ObjectError::Missing { what: Self::NAME })
    }

    /// Returns the cookie of the namespace whose socket accepted a connection, if the kernel recorded it.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn namespace(&self, client: Endpoint, server: Endpoint) -> Result<Option<u64>, MapError> {
        match self.0.get(&[client.words(), server.words()], 0) {
            Ok(cookie) => Ok(Some(cookie)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
