//! Abstracts the source of counts: kernel, or list in tests.
//!
//! [`Source`] is the only interface for reading counts. The aggregator's implementation reads other probes. A source
//! does not parse, because the parsers are in `probe-common`.

use std::collections::BTreeMap;

use probe_common::connections::Connections;
use probe_common::endpoint::{Endpoint, Listener};
use probe_common::latency::Latency;
use probe_common::requests::Requests;
use probe_common::resp::CommandSpec;
use probe_common::traffic::Traffic;
use protocol::probe_api::{MapFill, ProgramRuns};

use crate::signal::commands::CommandCounts;
use crate::signal::key_table::KeyTable;

mod kernel;
mod replay;

pub use self::kernel::KernelSource;
pub use self::replay::ReplaySource;

/// One shard's counters since the programs were attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes and packets.
    pub traffic: Traffic,
    /// Requests.
    pub requests: Requests,
}

/// Counters could not be read, or endpoints not set.
#[derive(Debug, thiserror::Error)]
#[error("the kernel's counters cannot be read: {0}")]
pub struct SourceError(pub(crate) String);

impl SourceError {
    /// The error of a probe that has detached.
    #[must_use]
    pub fn detached() -> Self {
        Self("detached".to_owned())
    }
}

/// Provides counters by shard.
pub trait Source: Send {
    /// The counters of one shard.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read(&mut self, shard: u32) -> Result<Counters, SourceError>;

    /// Packets to one shard. They grow with every call to the shard, the probe's own included.
    ///
    /// # Errors
    /// When they cannot be read.
    fn packets(&mut self, shard: u32) -> Result<u64, SourceError>;

    /// The latencies of one shard's requests. They are separate from the counters because they are much larger.
    ///
    /// # Errors
    /// When they cannot be read.
    fn latency(&mut self, shard: u32) -> Result<Latency, SourceError>;

    /// The connections of one shard. `None` when the program for connections is not attached.
    ///
    /// # Errors
    /// When they cannot be read.
    fn connections(&mut self, shard: u32) -> Result<Option<Connections>, SourceError>;

    /// The round-trip times of one shard's connections.
    ///
    /// # Errors
    /// When they cannot be read.
    fn round_trips(&mut self, shard: u32) -> Result<Latency, SourceError>;

    /// Whether round-trip times are measured although this process has not switched them on.
    fn measures_round_trips(&self) -> bool {
        false
    }

    /// Open connections of one shard, new and preexisting ones. `None` if they follow from the counts of
    /// [`connections`](Self::connections).
    fn open_connections(&self, _: u32) -> Option<(u64, u64)> {
        None
    }

    /// The reads of one shard by key. At 776 KiB they are much larger again.
    ///
    /// # Errors
    /// When they cannot be read.
    fn keys(&mut self, shard: u32) -> Result<KeyTable, SourceError>;

    /// The commands of one shard by number. `None` unless the protocol is RESP.
    ///
    /// # Errors
    /// When they cannot be read.
    fn commands(&mut self, shard: u32) -> Result<Option<CommandCounts>, SourceError>;

    /// The latencies of one shard's commands by [family](CommandSpec::family). Empty unless the protocol is RESP.
    ///
    /// # Errors
    /// When they cannot be read.
    fn families(&mut self, shard: u32) -> Result<Vec<Latency>, SourceError>;

    /// Replaces the table of commands, by name in lower case. It has no effect unless the protocol is RESP.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn set_commands(&mut self, commands: &[(String, CommandSpec)]) -> Result<(), SourceError>;

    /// How often each attached program ran, if the kernel counts runs.
    ///
    /// # Errors
    /// When the counts cannot be read.
    fn runs(&mut self) -> Result<Vec<ProgramRuns>, SourceError>;

    /// How full the maps are that can fill up.
    ///
    /// # Errors
    /// When a map cannot be read.
    fn fills(&mut self) -> Result<Vec<MapFill>, SourceError>;

    /// Counts only for these endpoints from now on.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn watch(&mut self, endpoints: &BTreeMap<Endpoint, Listener>) -> Result<(), SourceError>;

    /// The cookie of the network namespace whose socket accepted a recent connection. `None` when no socket of this
    /// host accepted it.
    ///
    /// # Errors
    /// When it cannot be read.
    fn namespace(&mut self, client: Endpoint, server: Endpoint) -> Result<Option<u64>, SourceError>;
}
