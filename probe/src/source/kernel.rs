//! Reads the counts from the kernel's maps.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aya::Ebpf;
use aya::maps::Array;
use probe_common::MAX_ENDPOINTS;
use probe_common::connections::Connections;
use probe_common::endpoint::{Endpoint, Listener};
use probe_common::latency::Latency;
use probe_common::resp::CommandSpec;
use protocol::probe_api::{Counting, MapFill, ProgramRuns, ProgramStatus};

use super::{Counters, Source, SourceError};
use crate::kernel::attach::{self, Links};
use crate::kernel::endpoints::{AcceptedMap, EndpointsMap};
use crate::kernel::error::ObjectError;
use crate::kernel::object::{self, Switches};
use crate::kernel::pin::counting_from_now;
use crate::kernel::ports::PortsMap;
use crate::kernel::protocol::Protocol;
use crate::kernel::slots::{Slots, SlotsMap};
use crate::signal::commands::{CommandCounts, CommandTable};
use crate::signal::connections::ConnectionsMap;
use crate::signal::key_table::KeyTable;
use crate::signal::keys::{CAPACITY, KeysMap};
use crate::signal::latency::{LatencyMap, sum};
use crate::signal::requests::RequestsMap;
use crate::signal::traffic::TrafficMap;

/// Informs the program `ingress` that `socket_events` is attached.
const ADOPTS: &str = "ADOPTS";

/// The kernel's maps. The programs stay attached until it is dropped.
pub struct KernelSource {
    endpoints: EndpointsMap,
    accepted: AcceptedMap,
    ports: PortsMap,
    /// Where each shard's counts are in the maps.
    slots: Slots,
    slots_map: SlotsMap,
    traffic: TrafficMap,
    requests: RequestsMap,
    latency: LatencyMap,
    round_trips: LatencyMap,
    keys: KeysMap,
    /// `None` unless the protocol is RESP.
    commands: Option<CommandTable>,
    connections: Option<ConnectionsMap>,
    programs: Vec<Cow<'static, str>>,
    // Owns the programs.
    ebpf: Ebpf,
    // Owns the links that are not pinned, or the lock of the pinned set.
    links: Links,
}

impl KernelSource {
    /// Attaches the programs to `cgroup` and takes the maps.
    pub(crate) fn attach(
        mut ebpf: Ebpf,
        protocol: Protocol,
        cgroup: &Path,
        mut links: Links,
    ) -> Result<(Self, Vec<ProgramStatus>), ObjectError> {
        let statuses = attach::attach(&mut ebpf, protocol, cgroup, &mut links)?;
        let mut take = |what| ebpf.take_map(what).ok_or(ObjectError::Missing { what });
        let endpoints = EndpointsMap::new(take(EndpointsMap::NAME)?, take(EndpointsMap::CHANGES)?)?;
        let accepted = AcceptedMap::new(take(AcceptedMap::NAME)?)?;
        let ports = PortsMap::new(take(PortsMap::NAME)?)?;
        let (slots_map, slots) = SlotsMap::new(take(SlotsMap::NAME)?)?;
        let traffic = TrafficMap::new(take(TrafficMap::NAME)?, TrafficMap::NAME)?;
        let requests = RequestsMap::new(take(RequestsMap::NAME)?, RequestsMap::NAME)?;
        let latency = LatencyMap::new(take(LatencyMap::NAME)?, LatencyMap::NAME)?;
        let round_trips = LatencyMap::new(take(LatencyMap::RTT)?, LatencyMap::RTT)?;
        let keys = KeysMap::new(take(KeysMap::NAME)?, protocol)?;
        let commands = match protocol {
            Protocol::Http => None,
            Protocol::Resp => {
                let families = take(CommandTable::FAMILIES)?;
                Some(CommandTable::new(take(CommandTable::NAME)?, take(CommandTable::COUNTS)?, families)?)
            }
        };
        let connections = ConnectionsMap::new(take(ConnectionsMap::NAME)?, ConnectionsMap::NAME)?;
        let attached =
            statuses.iter().any(|status| status.program == ConnectionsMap::PROGRAM && status.attached);
        let connections = attached.then_some(connections);
        let mut adopts = Array::try_from(take(ADOPTS)?).map_err(|_| ObjectError::Missing { what: ADOPTS })?;
        adopts
            .set(0, u32::from(attached), 0)
            .map_err(|error| ObjectError::other(format!("the map {ADOPTS} cannot be written"), &error))?;
        if let Links::Pinned(set) = &mut links {
            set.complete(&attach::all())?;
        }
        let programs =
            statuses.iter().filter(|status| status.attached).map(|status| status.program.clone()).collect();
        let source = Self {
            endpoints,
            accepted,
            ports,
            slots,
            slots_map,
            traffic,
            requests,
            latency,
            round_trips,
            keys,
            commands,
            connections,
            programs,
            ebpf,
            links,
        };
        Ok((source, statuses))
    }

    /// When counting started, and whether it ends with this source.
    pub(crate) fn counting(&self) -> Counting {
        match &self.links {
            Links::Held(_) => counting_from_now(),
            Links::Pinned(set) => set.counting(),
        }
    }

    /// Loads and attaches the embedded object.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn embedded(cgroup: &Path, switches: Switches) -> Result<(Self, Vec<ProgramStatus>), ObjectError> {
        let ebpf = object::load(object::embedded()?, switches)?;
        Self::attach(ebpf, switches.protocol, cgroup, Links::Held(Vec::new()))
    }
}

impl KernelSource {
    /// Gives every shard of `endpoints` a slot. Returns the endpoints with slots in place of shards.
    fn in_slots(
        &mut self,
        endpoints: &BTreeMap<Endpoint, Listener>,
    ) -> Result<BTreeMap<Endpoint, Listener>, SourceError> {
        let failed = |error: &dyn std::fmt::Display| SourceError(error.to_string());
        let shards: BTreeSet<u32> = endpoints.values().map(|listener| listener.shard).collect();
        let mut slots = self.slots.clone();
        let given = slots.assign(&shards).map_err(|error| failed(&error))?;
        let listeners: BTreeMap<Endpoint, Listener> = endpoints
            .iter()
            .filter_map(|(endpoint, listener)| {
                Some((*endpoint, Listener { shard: slots.of(listener.shard)?, ..*listener }))
            })
            .collect();
        if given.iter().any(|given| given.is_used) {
            // Nothing more is counted for the shards that leave before their slots are cleared.
            let mut staying = self.endpoints.watched().clone();
            staying.retain(|endpoint, listener| listeners.get(endpoint) == Some(listener));
            self.endpoints.set(&staying).map_err(|error| failed(&error))?;
        }
        for given in given {
            if given.is_used {
                self.clear(given.slot)?;
            }
            self.slots_map.set(given).map_err(|error| failed(&error))?;
        }
        self.slots = slots;
        Ok(listeners)
    }

    /// Sets the counts in a slot to zero.
    fn clear(&mut self, slot: u32) -> Result<(), SourceError> {
        let failed = |error: aya::maps::MapError| SourceError(error.to_string());
        self.traffic.clear(slot).map_err(failed)?;
        self.requests.clear(slot).map_err(failed)?;
        self.latency.clear(slot).map_err(failed)?;
        self.round_trips.clear(slot).map_err(failed)?;
        if let Some(connections) = &mut self.connections {
            connections.clear(slot).map_err(failed)?;
        }
        // A store has no more nodes than there are slots, so the counts of commands are never cleared.
        self.keys.clear(slot).map_err(|error| SourceError(error.to_string()))
    }
}

impl Source for KernelSource {
    fn read(&mut self, shard: u32) -> Result<Counters, SourceError> {
        let Some(shard) = self.slots.of(shard) else { return Ok(Counters::default()) };
        let failed = |error: aya::maps::MapError| SourceError(error.to_string());
        Ok(Counters {
            traffic: self.traffic.read(shard).map_err(failed)?,
            requests: self.requests.read(shard).map_err(failed)?,
        })
    }

    fn packets(&mut self, shard: u32) -> Result<u64, SourceError> {
        let Some(shard) = self.slots.of(shard) else { return Ok(0) };
        let traffic = self.traffic.read(shard).map_err(|error| SourceError(error.to_string()))?;
        Ok(traffic.receive.packets)
    }

    fn latency(&mut self, shard: u32) -> Result<Latency, SourceError> {
        if self.commands.is_some() {
            return Ok(sum(&self.families(shard)?));
        }
        let Some(shard) = self.slots.of(shard) else { return Ok(Latency::default()) };
        self.latency.read(shard).map_err(|error| SourceError(error.to_string()))
    }

    fn connections(&mut self, shard: u32) -> Result<Option<Connections>, SourceError> {
        let Some(connections) = &self.connections else { return Ok(None) };
        let Some(shard) = self.slots.of(shard) else { return Ok(Some(Connections::default())) };
        connections.read(shard).map(Some).map_err(|error| SourceError(error.to_string()))
    }

    fn round_trips(&mut self, shard: u32) -> Result<Latency, SourceError> {
        let Some(shard) = self.slots.of(shard) else { return Ok(Latency::default()) };
        self.round_trips.read(shard).map_err(|error| SourceError(error.to_string()))
    }

    fn keys(&mut self, shard: u32) -> Result<KeyTable, SourceError> {
        let Some(shard) = self.slots.of(shard) else { return Ok(KeyTable::default()) };
        self.keys.read(shard).map_err(|error| SourceError(error.to_string()))
    }

    fn commands(&mut self, shard: u32) -> Result<Option<CommandCounts>, SourceError> {
        let Some(commands) = &self.commands else { return Ok(None) };
        let Some(shard) = self.slots.of(shard) else { return Ok(None) };
        commands.read(shard).map(Some).map_err(|error| SourceError(error.to_string()))
    }

    fn families(&mut self, shard: u32) -> Result<Vec<Latency>, SourceError> {
        let Some(commands) = &self.commands else { return Ok(Vec::new()) };
        let Some(shard) = self.slots.of(shard) else { return Ok(Vec::new()) };
        commands.latencies(shard).map_err(|error| SourceError(error.to_string()))
    }

    fn set_commands(&mut self, commands: &[(String, CommandSpec)]) -> Result<(), SourceError> {
        let Some(table) = &mut self.commands else { return Ok(()) };
        table.write(commands).map_err(|error| SourceError(error.to_string()))
    }

    fn runs(&mut self) -> Result<Vec<ProgramRuns>, SourceError> {
        let runs = self.programs.iter().filter_map(|name| {
            let info = self.ebpf.program(name)?.info();
            let runs = info.map(|info| ProgramRuns {
                program: name.to_string(),
                runs: info.run_count(),
                run_seconds: info.run_time().as_secs_f64(),
            });
            Some(runs.map_err(|error| SourceError(error.to_string())))
        });
        runs.collect()
    }

    fn fills(&mut self) -> Result<Vec<MapFill>, SourceError> {
        let shards = MapFill {
            map: EndpointsMap::NAME.into(),
            entries: self.endpoints.watched().len() as u64,
            max_entries: u64::from(MAX_ENDPOINTS),
        };
        let keys = MapFill {
            map: KeysMap::NAME.into(),
            entries: self.keys.used(),
            max_entries: CAPACITY as u64 * self.keys.shards(),
        };
        Ok(vec![shards, keys])
    }

    fn watch(&mut self, endpoints: &BTreeMap<Endpoint, Listener>) -> Result<(), SourceError> {
        let failed = |error: aya::maps::MapError| SourceError(error.to_string());
        let endpoints = &self.in_slots(endpoints)?;
        // Open a port before its shard is added, and close it after the shard is removed.
        self.ports.set(endpoints.keys().chain(self.endpoints.watched().keys())).map_err(failed)?;
        self.endpoints.set(endpoints).map_err(failed)?;
        self.ports.set(self.endpoints.watched().keys()).map_err(failed)
    }

    fn namespace(&mut self, client: Endpoint, server: Endpoint) -> Result<Option<u64>, SourceError> {
        self.accepted.namespace(client, server).map_err(|error| SourceError(error.to_string()))
    }
}
