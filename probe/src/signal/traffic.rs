//! Signal `traffic`: reads the kernel's byte and packet counters.

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use probe_common::traffic::Traffic;

use crate::object::ObjectError;

/// The map `TRAFFIC`.
pub struct TrafficMap(PerCpuArray<MapData, Traffic>);

impl TrafficMap {
    /// The map's name in the object.
    pub const NAME: &str = "TRAFFIC";

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
    pub fn read(&self, shard: u32) -> Result<Traffic, MapError> {
        let mut sum = Traffic::default();
        for share in self.0.get(&shard, 0)?.iter() {
            sum.add(share);
        }
        Ok(sum)
    }
}
