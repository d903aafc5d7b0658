//! Signal `requests`: reads the kernel's request counters.

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use probe_common::requests::Requests;

use crate::object::ObjectError;

/// The map `REQUESTS`.
pub struct RequestsMap(PerCpuArray<MapData, Requests>);

impl RequestsMap {
    /// The map's name in the object.
    pub const NAME: &str = "REQUESTS";

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
    pub fn read(&self, shard: u32) -> Result<Requests, MapError> {
        let mut sum = Requests::default();
        for share in self.0.get(&shard, 0)?.iter() {
            sum.add(share);
        }
        Ok(sum)
    }
}
