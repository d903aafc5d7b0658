//! Offers the sums of all probes as a source of counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use probe_common::connections::Connections;
use probe_common::endpoint::{Endpoint, Listener};
use probe_common::latency::Latency;
use probe_common::resp::CommandSpec;
use protocol::probe_api::{MapFill, ProgramRuns};

use super::merge::Merged;
use super::merge::sum::MergedShard;
use crate::signal::commands::CommandCounts;
use crate::signal::key_table::KeyTable;
use crate::source::{Counters, Source, SourceError};

/// The sums, shared with the loop that adds to them.
pub(super) struct MergedSource(pub(super) Arc<Mutex<Merged>>);

impl MergedSource {
    fn of<T>(&self, shard: u32, read: impl FnOnce(&MergedShard) -> T) -> Result<T, SourceError> {
        let merged = self.0.lock();
        merged.shard(shard).map(read).ok_or_else(|| SourceError(format!("there is no shard {shard}")))
    }
}

impl Source for MergedSource {
    fn read(&mut self, shard: u32) -> Result<Counters, SourceError> {
        self.of(shard, |sum| Counters { traffic: sum.traffic, requests: sum.requests() })
    }

    fn packets(&mut self, shard: u32) -> Result<u64, SourceError> {
        self.of(shard, |sum| sum.traffic.receive.packets)
    }

    fn latency(&mut self, shard: u32) -> Result<Latency, SourceError> {
        self.of(shard, |sum| sum.latency)
    }

    fn connections(&mut self, shard: u32) -> Result<Option<Connections>, SourceError> {
        self.of(shard, |sum| sum.connections)
    }

    fn round_trips(&mut self, shard: u32) -> Result<Latency, SourceError> {
        self.of(shard, |sum| sum.round_trips.unwrap_or_default())
    }

    fn measures_round_trips(&self) -> bool {
        self.0.lock().measures_round_trips()
    }

    fn open_connections(&self, shard: u32) -> Option<(u64, u64)> {
        self.of(shard, MergedShard::open).ok()
    }

    fn keys(&mut self, shard: u32) -> Result<KeyTable, SourceError> {
        self.of(shard, |sum| sum.keys.table())
    }

    fn commands(&mut self, _: u32) -> Result<Option<CommandCounts>, SourceError> {
        Ok(None)
    }

    fn families(&mut self, _: u32) -> Result<Vec<Latency>, SourceError> {
        Ok(Vec::new())
    }

    fn set_commands(&mut self, _: &[(String, CommandSpec)]) -> Result<(), SourceError> {
        Ok(())
    }

    fn runs(&mut self) -> Result<Vec<ProgramRuns>, SourceError> {
        Ok(Vec::new())
    }

    fn fills(&mut self) -> Result<Vec<MapFill>, SourceError> {
        Ok(Vec::new())
    }

    fn watch(&mut self, _: &BTreeMap<Endpoint, Listener>) -> Result<(), SourceError> {
        Ok(())
    }

    fn namespace(&mut self, _: Endpoint, _: Endpoint) -> Result<Option<u64>, SourceError> {
        Ok(None)
    }
}
