//! Reads a per-CPU array with one value per shard.

use std::ops::AddAssign;

use aya::Pod;
use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;

use crate::kernel::error::ObjectError;

/// A per-CPU array whose values are summed over all CPUs.
pub struct PerShard<T: Pod>(PerCpuArray<MapData, T>);

impl<T: Pod + Default + for<'a> AddAssign<&'a T>> PerShard<T> {
    /// Takes the map of that name.
    ///
    /// # Errors
    /// When it has another type.
    pub fn new(map: Map, name: &'static str) -> Result<Self, ObjectError> {
        PerCpuArray::try_from(map).map(Self).map_err(|_| ObjectError::Missing { what: name })
    }

    /// One shard's value, summed over all CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn read(&self, shard: u32) -> Result<T, MapError> {
        let mut sum = T::default();
        for share in self.0.get(&shard, 0)?.iter() {
            sum += share;
        }
        Ok(sum)
    }

    /// Sets one shard's value to zero on all CPUs.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn clear(&mut self, shard: u32) -> Result<(), MapError> {
        let failed = |io_error| {
            MapError::SyscallError(aya::sys::SyscallError { call: "bpf_map_update_elem", io_error })
        };
        let cpus = nr_cpus().map_err(|(_, error)| failed(error))?;
        let zeros = PerCpuValues::try_from(vec![T::default(); cpus]).map_err(failed)?;
        self.0.set(shard, zeros, 0)
    }
}
