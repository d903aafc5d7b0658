//! Reads a per-CPU array with one value a shard.

use std::ops::AddAssign;

use aya::Pod;
use aya::maps::{Map, MapData, MapError, PerCpuArray};

use crate::kernel::error::ObjectError;

/// Such a map; what the CPUs counted is added up.
pub struct PerShard<T: Pod>(PerCpuArray<MapData, T>);

impl<T: Pod + Default + for<'a> AddAssign<&'a T>> PerShard<T> {
    /// Takes the map of that name.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn new(map: Map, name: &'static str) -> Result<Self, ObjectError> {
        PerCpuArray::try_from(map).map(Self).map_err(|_| ObjectError::Missing { what: name })
    }

    /// One shard's value, all CPUs together.
    ///
    /// # Errors
    /// When the kernel does not give it.
    pub fn read(&self, shard: u32) -> Result<T, MapError> {
        let mut sum = T::default();
        for share in self.0.get(&shard, 0)?.iter() {
            sum += share;
        }
        Ok(sum)
    }
}
