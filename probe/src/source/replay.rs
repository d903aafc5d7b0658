//! Replays counts from a list, for tests.

use std::collections::{BTreeMap, VecDeque};

use probe_common::connections::Connections;
use probe_common::endpoint::{Endpoint, Listener};
use probe_common::latency::Latency;
use probe_common::resp::CommandSpec;
use protocol::probe_api::{MapFill, ProgramRuns};

use super::{Counters, Source, SourceError};
use crate::signal::commands::CommandCounts;
use crate::signal::key_table::KeyTable;

/// Counters from a list, for tests. Each read takes the next reading, and the last one repeats.
#[derive(Debug, Default)]
pub struct ReplaySource {
    readings: BTreeMap<u32, VecDeque<Counters>>,
    /// The latencies of each shard; empty for shards not in it.
    pub latencies: BTreeMap<u32, Latency>,
    /// The round-trip times of each shard; empty for shards not in it.
    pub round_trips: BTreeMap<u32, Latency>,
    /// The connections of each shard; `None` for shards not in it.
    pub connections: BTreeMap<u32, Connections>,
    /// The programs' runs; unreadable when `None`.
    pub runs: Option<Vec<ProgramRuns>>,
    /// The maps' fill.
    pub fills: Vec<MapFill>,
    /// Whether endpoints are rejected.
    pub refuses_endpoints: bool,
    /// The keys of each shard; empty for shards not in it.
    pub keys: BTreeMap<u32, KeyTable>,
    /// The commands of each shard; `None` for shards not in it.
    pub commands: BTreeMap<u32, CommandCounts>,
    /// The latencies of each shard by family; empty for shards not in it.
    pub families: BTreeMap<u32, Vec<Latency>>,
    /// The table of commands last set.
    pub command_table: Vec<(String, CommandSpec)>,
    /// One more at each reading, as if the probe had called the shard in between.
    packets: u64,
    /// Whether the packets do not grow.
    pub is_blind: bool,
    /// The endpoints last set.
    pub watched: BTreeMap<Endpoint, Listener>,
    /// The namespace that accepts connections to each server; `None` for servers not in it.
    pub namespaces: BTreeMap<Endpoint, u64>,
}

impl ReplaySource {
    /// Adds a reading of a shard.
    pub fn push(&mut self, shard: u32, counters: Counters) {
        self.readings.entry(shard).or_default().push_back(counters);
    }
}

impl Source for ReplaySource {
    fn read(&mut self, shard: u32) -> Result<Counters, SourceError> {
        let readings = self.readings.entry(shard).or_default();
        let reading = if readings.len() > 1 { readings.pop_front() } else { readings.front().copied() };
        reading.ok_or_else(|| SourceError(format!("no reading of shard {shard}")))
    }

    fn packets(&mut self, _: u32) -> Result<u64, SourceError> {
        self.packets += u64::from(!self.is_blind);
        Ok(self.packets)
    }

    fn latency(&mut self, shard: u32) -> Result<Latency, SourceError> {
        Ok(self.latencies.get(&shard).copied().unwrap_or_default())
    }

    fn connections(&mut self, shard: u32) -> Result<Option<Connections>, SourceError> {
        Ok(self.connections.get(&shard).copied())
    }

    fn round_trips(&mut self, shard: u32) -> Result<Latency, SourceError> {
        Ok(self.round_trips.get(&shard).copied().unwrap_or_default())
    }

    fn keys(&mut self, shard: u32) -> Result<KeyTable, SourceError> {
        Ok(self.keys.get(&shard).cloned().unwrap_or_default())
    }

    fn commands(&mut self, shard: u32) -> Result<Option<CommandCounts>, SourceError> {
        Ok(self.commands.get(&shard).cloned())
    }

    fn families(&mut self, shard: u32) -> Result<Vec<Latency>, SourceError> {
        Ok(self.families.get(&shard).cloned().unwrap_or_default())
    }

    fn set_commands(&mut self, commands: &[(String, CommandSpec)]) -> Result<(), SourceError> {
        self.command_table = commands.to_vec();
        Ok(())
    }

    fn runs(&mut self) -> Result<Vec<ProgramRuns>, SourceError> {
        self.runs.clone().ok_or_else(|| SourceError("no runs".to_owned()))
    }

    fn fills(&mut self) -> Result<Vec<MapFill>, SourceError> {
        Ok(self.fills.clone())
    }

    fn watch(&mut self, endpoints: &BTreeMap<Endpoint, Listener>) -> Result<(), SourceError> {
        if self.refuses_endpoints {
            return Err(SourceError("refused".to_owned()));
        }
        self.watched.clone_from(endpoints);
        Ok(())
    }

    fn namespace(&mut self, _: Endpoint, server: Endpoint) -> Result<Option<u64>, SourceError> {
        Ok(self.namespaces.get(&server).copied())
    }
}
