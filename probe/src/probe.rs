//! Holds the attached probe, shared by the loop and the handlers.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use probe_common::endpoint::{Endpoint, Listener};
use probe_common::latency::Latency;
use protocol::probe_api::{Counting, NodeStatus, ProgramRuns, ProgramStatus, StoreAnswer, Verdicts};
use protocol::shard_urls::ShardUrls;
use tokio::sync::watch::Receiver;
use tokio::task::{JoinError, spawn_blocking};

use crate::blindness::Blindness;
use crate::compare::feed::Feed;
use crate::kernel::cgroup::Cgroup;
use crate::kernel::namespace::Placed;
use crate::kernel::object::Switches;
use crate::kernel::pin;
use crate::kernel::statistics::Statistics;
use crate::metrics::{Lost, ProbeMetrics};
use crate::pods::found::Found;
use crate::shards::Shards;
use crate::signal::connections::{ConnectionReading, ConnectionsMap};
use crate::signal::key_table::KeyTable;
use crate::source::{Counters, Source, SourceError};
use crate::targets::Targets;

/// The feature of a probe whose shards are pods.
pub(crate) const SHARD_PODS: &str = "pods";

/// The state of a running probe.
pub struct Probe {
    /// The watched shards.
    pub(crate) shards: Shards,
    /// The lab's shards as configured. `None` when a store is watched.
    pub(crate) lab: Option<ShardUrls>,
    /// The name of this probe's node, if it is known.
    pub(crate) node: Option<String>,
    /// The nodes' probes that this one reads. `None` for a probe with kernel programs.
    pub(crate) nodes: Mutex<Option<Vec<NodeStatus>>>,
    /// The cgroup that the programs are attached to.
    pub(crate) cgroup: Cgroup,
    /// The status of each program when it was attached.
    programs: Vec<ProgramStatus>,
    /// The shards whose packets are not seen.
    pub(crate) blindness: Mutex<Blindness>,
    /// The settings of the kernel programs.
    pub(crate) switches: Switches,
    /// The shards' addresses as last looked up.
    pub(crate) targets: Mutex<Targets>,
    /// The watches of pods, each with the name of its feature. [`SHARD_PODS`] has the shards' pods.
    pub(crate) pods: OnceLock<Vec<(&'static str, Receiver<Found>)>>,
    /// The kernel's table of endpoints.
    pub(crate) listeners: Mutex<BTreeMap<Endpoint, Listener>>,
    /// The sockets whose network namespace the programs can read.
    pub(crate) placed: Placed,
    /// The probe's metrics.
    pub metrics: ProbeMetrics,
    /// Whether the kernel counts the programs' runs.
    pub(crate) statistics: Statistics,
    /// When counting started, and whether it ends with this probe.
    pub(crate) counting: Counting,
    /// The kernel's and the gateway's verdict of the last second.
    pub(crate) verdicts: Mutex<Arc<Verdicts>>,
    /// One frame per second, for the live page.
    pub(crate) feed: Feed,
    /// The newest answer about a store. `None` when the lab's shards are watched.
    pub(crate) store: Mutex<Option<Arc<StoreAnswer>>>,
    /// `None` once detached.
    source: Mutex<Option<Box<dyn Source>>>,
    /// The newest table of keys by shard, and when its reading began.
    tables: Mutex<BTreeMap<u32, (Instant, Arc<KeyTable>)>>,
    /// Held by the thread that reads tables of keys.
    table_reader: Arc<tokio::sync::Mutex<()>>,
}

/// One shard's readings except its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardReading {
    /// Requests, bytes and packets.
    pub(crate) counters: Counters,
    /// Request durations.
    pub(crate) latency: Latency,
    /// `None` when the program for connections is not attached.
    pub(crate) connections: Option<ConnectionReading>,
}

impl Probe {
    /// Creates a probe of the lab's shards that reads from `source`.
    #[must_use]
    pub fn new(
        lab: ShardUrls,
        cgroup: Cgroup,
        programs: Vec<ProgramStatus>,
        switches: Switches,
        metrics: ProbeMetrics,
        source: Box<dyn Source>,
    ) -> Self {
        Self::of(Some(lab), cgroup, programs, switches, metrics, source)
    }

    /// Creates a probe of the lab's shards, or of a store whose shards are set later.
    pub(crate) fn of(
        lab: Option<ShardUrls>,
        cgroup: Cgroup,
        programs: Vec<ProgramStatus>,
        switches: Switches,
        metrics: ProbeMetrics,
        source: Box<dyn Source>,
    ) -> Self {
        let (targets, statistics, counting) =
            (Mutex::default(), Statistics::default(), pin::counting_from_now());
        let (source, tables, verdicts) = (Mutex::new(Some(source)), Mutex::default(), Mutex::default());
        Self {
            shards: lab.as_ref().map(Shards::from).unwrap_or_default(),
            lab,
            node: None,
            nodes: Mutex::default(),
            cgroup,
            programs,
            switches,
            targets,
            pods: OnceLock::new(),
            listeners: Mutex::default(),
            placed: Placed::default(),
            blindness: Mutex::default(),
            metrics,
            statistics,
            counting,
            verdicts,
            feed: Feed::default(),
            store: Mutex::default(),
            source,
            tables,
            table_reader: Arc::default(),
        }
    }

    /// Sets the statistics of the programs.
    #[must_use]
    pub fn with_statistics(self, statistics: Statistics) -> Self {
        Self { statistics, ..self }
    }

    /// Sets the sockets whose network namespace the programs can read.
    #[must_use]
    pub fn with_placed(self, placed: Placed) -> Self {
        Self { placed, ..self }
    }

    /// Sets since when is counted. Pinned counters can be older than the probe and outlive it.
    pub(crate) fn with_counting(self, counting: Counting) -> Self {
        self.metrics.self_metrics.counting(&counting);
        if counting.pinned.as_ref().is_some_and(|pinned| pinned.adopted) {
            self.metrics.keys.adopted();
        }
        Self { counting, ..self }
    }

    /// The current status of each program.
    pub(crate) fn programs(&self) -> Vec<ProgramStatus> {
        let mut programs = self.programs.clone();
        if let Some(why) = &self.blindness.lock().detached {
            for program in programs.iter_mut().filter(|program| program.attached) {
                program.attached = false;
                program.why = Some(why.clone());
                program.reason = "cgroup_removed".into();
            }
        }
        programs
    }

    /// The source of the counts. Returns an error when the probe has detached.
    pub(crate) fn source(&self) -> Result<MappedMutexGuard<'_, dyn Source>, SourceError> {
        MutexGuard::try_map(self.source.lock(), Option::as_deref_mut).map_err(|_| SourceError::detached())
    }

    /// Counts only for these endpoints from now on.
    pub(crate) fn watch(&self, listeners: BTreeMap<Endpoint, Listener>) -> Result<(), SourceError> {
        self.source()?.watch(&listeners)?;
        self.tables.lock().retain(|shard, _| listeners.values().any(|listener| listener.shard == *shard));
        *self.listeners.lock() = listeners;
        Ok(())
    }

    /// Returns the reading of a shard. A failed reading is logged and counted as lost.
    pub(crate) fn readable<T>(&self, shard: u32, read: Result<T, SourceError>) -> Option<T> {
        read.inspect_err(|error| {
            tracing::error!(shard, %error, "no reading");
            self.metrics.lost(Lost::CountersUnreadable);
        })
        .ok()
    }

    /// One shard's counters. `None` when they cannot be read.
    pub(crate) fn counters(&self, shard: u32) -> Option<Counters> {
        self.readable(shard, self.source().and_then(|mut source| source.read(shard)))
    }

    /// The connections of one shard. `None` when the program for connections is not attached. Returns an error when
    /// they cannot be read, or the probe has detached.
    pub(crate) fn connections(&self, shard: u32) -> Result<Option<ConnectionReading>, SourceError> {
        let mut source = self.source()?;
        let Some(counted) = source.connections(shard)? else { return Ok(None) };
        let measured = self.switches.rtt || source.measures_round_trips();
        let round_trips = if measured { Some(source.round_trips(shard)?) } else { None };
        let open = source.open_connections(shard);
        let open = open.unwrap_or((counted.open(), counted.preexisting_open()));
        let follows_preexisting = !self
            .programs
            .iter()
            .any(|status| status.program == ConnectionsMap::PREEXISTING_PROGRAM && !status.attached);
        Ok(Some(ConnectionReading { counted, open, follows_preexisting, round_trips }))
    }

    /// Runs `read`, which reads tables of keys, on a thread that may block. One such thread reads at a time, because each
    /// keeps memory for a table. Returns an error only when the runtime ends.
    pub(crate) async fn read_tables<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = Arc::clone(&self.table_reader).lock_owned().await;
        let probe = Arc::clone(self);
        let reading = spawn_blocking(move || {
            // A caller that goes away does not let another thread in.
            let _turn = turn;
            read(&probe)
        });
        reading.await
    }

    /// One shard's reads by key, from a table whose reading began at `since` or later. Concurrent calls share one
    /// table. Call it in [`Probe::read_tables`]. Returns an error when the table cannot be read, or the probe
    /// has detached.
    pub(crate) fn keys(&self, shard: u32, since: Instant) -> Result<Arc<KeyTable>, SourceError> {
        let mut tables = self.tables.lock();
        if let Some((_, table)) = tables.get(&shard).filter(|(begun, _)| *begun >= since) {
            return Ok(Arc::clone(table));
        }
        let begun = Instant::now();
        let table = self.source()?.keys(shard)?;
        let table = Arc::new(table);
        tables.insert(shard, (begun, Arc::clone(&table)));
        Ok(table)
    }

    /// One shard's readings except its keys. Returns an error when they cannot be read, or the probe has detached.
    pub(crate) fn read(&self, shard: u32) -> Result<ShardReading, SourceError> {
        let (counters, latency) = {
            let mut source = self.source()?;
            (source.read(shard)?, source.latency(shard)?)
        };
        Ok(ShardReading { counters, latency, connections: self.connections(shard)? })
    }

    /// How often each program ran. `None` when the kernel does not count runs. Returns an error when the counts cannot
    /// be read, or the probe has detached.
    pub(crate) fn runs(&self) -> Result<Option<Vec<ProgramRuns>>, SourceError> {
        if !self.statistics.is_on() {
            return Ok(None);
        }
        self.source()?.runs().map(Some)
    }

    /// Whether any address of a shard is watched. A store's nodes count as watched, and all shards before the first
    /// lookup.
    fn is_watched(&self, shard: u32) -> bool {
        let targets = self.targets.lock();
        let target = usize::try_from(shard).ok().and_then(|shard| targets.shards.get(shard));
        self.lab.is_none() || target.is_none_or(|target| !target.addresses.is_empty())
    }

    /// Updates the metrics of every watched shard from the counters. The watch loop updates the metrics of the keys.
    pub fn export(&self) {
        for shard in self.shards.all().iter().map(|shard| shard.id) {
            if !self.is_watched(shard) {
                self.metrics.forget(shard);
                continue;
            }
            let Some(reading) = self.readable(shard, self.read(shard)) else { continue };
            let ShardReading { counters, latency, connections } = reading;
            self.metrics.read(shard, &counters, latency, connections.as_ref());
        }
        self.metrics.listened(self.feed.listeners());
        match self.source().and_then(|mut source| source.fills()) {
            Ok(fills) => self.metrics.self_metrics.filled(&fills),
            Err(error) => {
                tracing::error!(%error, "the maps' fill cannot be read");
                self.metrics.lost(Lost::CountersUnreadable);
            }
        }
        match self.runs() {
            Ok(runs) => self.metrics.self_metrics.ran(&runs.unwrap_or_default()),
            Err(error) => {
                tracing::error!(%error, "the programs' runs cannot be read");
                self.metrics.lost(Lost::RunsUnreadable);
            }
        }
    }

    /// Reads all counters a last time, logs them, and detaches.
    pub(crate) fn finish(&self) {
        for shard in self.shards.all().iter().map(|shard| shard.id).filter(|shard| self.is_watched(*shard)) {
            match self.source().and_then(|mut source| source.read(shard)) {
                Ok(Counters { requests, traffic }) => tracing::info!(
                    shard,
                    get = requests.get,
                    set = requests.set,
                    control = requests.control,
                    payload_in = traffic.receive.payload_bytes,
                    payload_out = traffic.transmit.payload_bytes,
                    "last reading"
                ),
                Err(error) => tracing::error!(shard, %error, "no last reading"),
            }
        }
        // Dropping the source ends links that are not pinned, and their programs.
        *self.source.lock() = None;
        match &self.counting.pinned {
            Some(pinned) => {
                tracing::info!("the kernel continues to count; `probe unpin {}` stops it", pinned.directory);
            }
            None => tracing::info!("detached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use service::metrics::Metrics;

    use super::*;
    use crate::source::ReplaySource;

    #[tokio::test]
    async fn one_thread_reads_tables_at_a_time() {
        let metrics = ProbeMetrics::register(&Metrics::default(), 1).unwrap();
        let (cgroup, switches) = (Cgroup::at("/cgroup".into()), Switches::default());
        let urls = ShardUrls::parse("http://shard:9000").unwrap();
        let source = Box::new(ReplaySource::default());
        let probe = Arc::new(Probe::new(urls, cgroup, Vec::new(), switches, metrics, source));
        let (reading, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let read = || {
            let (probe, reading, most) = (Arc::clone(&probe), Arc::clone(&reading), Arc::clone(&most));
            async move {
                let read = probe.read_tables(move |_| {
                    most.fetch_max(reading.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    #[expect(clippy::disallowed_methods, reason = "this thread may block")]
                    std::thread::sleep(Duration::from_millis(20));
                    reading.fetch_sub(1, Ordering::SeqCst);
                });
                read.await.unwrap();
            }
        };
        // The first caller goes away while its thread reads.
        let gone = tokio::time::timeout(Duration::from_millis(5), read());
        assert!(gone.await.is_err());
        futures_util::future::join_all((0..4).map(|_| read())).await;
        assert_eq!(most.load(Ordering::SeqCst), 1);
    }
}
