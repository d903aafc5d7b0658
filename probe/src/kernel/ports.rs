//! Maintains the kernel's port bitmap, which rejects unrelated packets first.

use std::collections::BTreeMap;

use aya::maps::{Array, Map, MapData, MapError};
use probe_common::endpoint::Endpoint;
use probe_common::ports::{WORDS, bit, word};

use crate::kernel::error::ObjectError;

/// The map `PORTS`.
pub struct PortsMap {
    map: Array<MapData, u64>,
    /// The map's words that are not zero.
    words: BTreeMap<u32, u64>,
}

impl PortsMap {
    /// The map's name in the object.
    pub const NAME: &str = "PORTS";

    /// Takes the map, including the bits of an earlier probe.
    ///
    /// # Errors
    /// When it has another type, or cannot be read.
    pub fn new(map: Map) -> Result<Self, ObjectError> {
        let map: Array<_, u64> =
            Array::try_from(map).map_err(|_| ObjectError::Missing { what: Self::NAME })?;
        let mut words = BTreeMap::new();
        for place in 0..WORDS {
            let bits = map.get(&place, 0).map_err(|error| ObjectError::unreadable(Self::NAME, &error))?;
            if bits != 0 {
                words.insert(place, bits);
            }
        }
        Ok(Self { map, words })
    }

    /// Sets the bits of these endpoints' ports, and clears all others.
    ///
    /// # Errors
    /// When the kernel rejects a word. Earlier changes stay.
    pub fn set<'a>(&mut self, endpoints: impl Iterator<Item = &'a Endpoint>) -> Result<(), MapError> {
        let mut wanted: BTreeMap<u32, u64> = BTreeMap::new();
        for endpoint in endpoints {
            *wanted.entry(word(endpoint.port)).or_default() |= bit(endpoint.port);
        }
        for place in self.words.keys() {
            wanted.entry(*place).or_default();
        }
        for (place, bits) in wanted {
            if self.words.get(&place).copied().unwrap_or_default() != bits {
                self.map.set(place, bits, 0)?;
                self.words.insert(place, bits);
            }
        }
        Ok(())
    }
}
