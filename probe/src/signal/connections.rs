//! Signal `connections`: reads the kernel's connection counters.

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use probe_common::connections::Connections;

use crate::object::ObjectError;

/// The map `CONNECTIONS`.
pub struct ConnectionsMap(PerCpuArray<MapData, Connections>);

impl ConnectionsMap {
    /// The map's name in the object.
    pub const NAME: &str = "CONNECTIONS";

    /// The program that fills it.
    pub const PROGRAM: &str = "socket_events";

    /// Takes the map.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn new(map: Map) -> Result<Self, ObjectError> {
        PerCpuArray::try_from(map).map(Self).map_err(|_| ObjectError::Missing { what: Self::NAME })
    }

    /// One shard's counters, all CPUs together.
    ///
    /// # Errors
    /// When the kernel does not give them.
    pub fn read(&self, shard: u32) -> Result<Connections, MapError> {
        let mut sum = Connections::default();
        for share in self.0.get(&shard, 0)?.iter() {
            sum.add(share);
        }
        Ok(sum)
    }
}
