//! Defines the signal `commands`: the kernel's table of RESP commands, their counts, and their latency by family.

use std::collections::BTreeMap;

use aya::maps::{HashMap, Map, MapData, MapError};
use probe_common::latency::Latency;
use probe_common::resp::{CommandCounters, CommandSpec, FAMILIES, UNTIMED, hash_name};

use crate::kernel::error::ObjectError;
use crate::kernel::object::FAMILY_LATENCY;
use crate::kernel::per_shard::PerShard;

/// One shard's commands since the programs were attached, by [number](CommandSpec::number).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandCounts {
    /// Commands that TCP has accepted. Number 0 is unknown commands.
    pub by_number: Vec<u64>,
    /// Of them, commands that were queued in a transaction and discarded with it. Number 0 is discarded commands
    /// whose numbers were not kept.
    pub discarded: Vec<u64>,
    /// Commands whose latency is not measured, by [`Untimed`](probe_common::resp::Untimed).
    pub untimed: [u64; UNTIMED],
}

/// The maps `COMMANDS`, `COMMAND_COUNTS` and `FAMILY_LATENCY`.
pub struct CommandTable {
    commands: HashMap<MapData, u64, u64>,
    counts: PerShard<CommandCounters>,
    families: PerShard<Latency>,
    /// The entries of `COMMANDS`: name hash and packed command.
    written: BTreeMap<u64, u64>,
}

impl CommandTable {
    /// The name of the table's map in the object.
    pub const NAME: &str = "COMMANDS";

    /// The name of the counters' map in the object.
    pub const COUNTS: &str = "COMMAND_COUNTS";

    /// The name in the object of the map of latencies by family.
    pub const FAMILIES: &str = FAMILY_LATENCY;

    /// Takes the maps, including the entries of an earlier probe.
    ///
    /// # Errors
    /// When a map has another type, or its entries cannot be read.
    pub fn new(commands: Map, counts: Map, families: Map) -> Result<Self, ObjectError> {
        let commands: HashMap<_, u64, u64> =
            HashMap::try_from(commands).map_err(|_| ObjectError::Missing { what: Self::NAME })?;
        let counts = PerShard::new(counts, Self::COUNTS)?;
        let families = PerShard::new(families, Self::FAMILIES)?;
        let written = commands.iter().collect::<Result<_, MapError>>();
        let written = written.map_err(|error| ObjectError::unreadable(Self::NAME, &error))?;
        Ok(Self { commands, counts, families, written })
    }

    /// Replaces the table. Each name is in lower case.
    ///
    /// # Errors
    /// When the kernel rejects a change. Earlier changes stay.
    pub fn write(&mut self, commands: &[(String, CommandSpec)]) -> Result<(), MapError> {
        let wanted: BTreeMap<u64, u64> =
            commands.iter().map(|(name, spec)| (hash_name(name.as_bytes()), spec.pack())).collect();
        for gone in self.written.keys().filter(|hash| !wanted.contains_key(hash)).copied().collect::<Vec<_>>()
        {
            self.commands.remove(&gone)?;
            self.written.remove(&gone);
        }
        for (hash, packed) in wanted {
            if self.written.get(&hash) != Some(&packed) {
                self.commands.insert(hash, packed, 0)?;
                self.written.insert(hash, packed);
            }
        }
        Ok(())
    }

    /// One shard's counts, summed over all CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn read(&self, shard: u32) -> Result<CommandCounts, MapError> {
        let counters = self.counts.read(shard)?;
        Ok(CommandCounts {
            by_number: counters.by_number.to_vec(),
            discarded: counters.discarded.to_vec(),
            untimed: counters.untimed,
        })
    }
    /// One shard's latencies by [family](CommandSpec::family), summed over all CPUs.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn latencies(&self, shard: u32) -> Result<Vec<Latency>, MapError> {
        let first = shard * FAMILIES as u32;
        (first..first + FAMILIES as u32).map(|place| self.families.read(place)).collect()
    }
}
