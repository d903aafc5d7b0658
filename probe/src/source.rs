//! The source of counts: the kernel, or a list in tests.
//!
//! [`Source`] is the one seam for reading counts: a probe elsewhere is another implementation of it. It does not parse;
//! the parsers are in `probe-common`.

use std::collections::BTreeMap;

use probe_common::connections::Connections;
use probe_common::endpoint::Endpoint;
use probe_common::latency::Latency;
use probe_common::requests::Requests;
use probe_common::traffic::Traffic;
use protocol::probe_api::{MapFill, ProgramRuns};

use crate::signal::key_table::KeyTable;

mod kernel;
mod replay;

pub use self::kernel::KernelSource;
pub use self::replay::ReplaySource;

/// Everything counted for one shard, since attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes and packets.
    pub traffic: Traffic,
    /// Requests.
    pub requests: Requests,
}

/// Counters could not be read, or shards not set.
#[derive(Debug, thiserror::Error)]
#[error("the kernel's counters: {0}")]
pub struct SourceError(String);

impl SourceError {
    /// The probe has let go of the kernel.
    #[must_use]
    pub fn detached() -> Self {
        Self("detached".to_owned())
    }
}

/// Gives counters by shard.
pub trait Source: Send {
    /// The counters of one shard.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read(&mut self, shard: u32) -> Result<Counters, SourceError>;

    /// The latencies of one shard's requests. Apart from the counters, as it is much more to read.
    ///
    /// # Errors
    /// When they cannot be read.
    fn latency(&mut self, shard: u32) -> Result<Latency, SourceError>;

    /// The connections of one shard; `None` where the program for them is not attached.
    ///
    /// # Errors
    /// When they cannot be read.
    fn connections(&mut self, shard: u32) -> Result<Option<Connections>, SourceError>;

    /// The round-trip times of one shard's connections.
    ///
    /// # Errors
    /// When they cannot be read.
    fn round_trips(&mut self, shard: u32) -> Result<Latency, SourceError>;

    /// The reads of one shard by key. Much more to read again: 776 KiB.
    ///
    /// # Errors
    /// When they cannot be read.
    fn keys(&mut self, shard: u32) -> Result<KeyTable, SourceError>;

    /// How often each attached program ran, if the kernel counts that.
    ///
    /// # Errors
    /// When it cannot be read.
    fn runs(&mut self) -> Result<Vec<ProgramRuns>, SourceError>;

    /// How full the maps are that can fill.
    ///
    /// # Errors
    /// When it cannot be read.
    fn fills(&mut self) -> Result<Vec<MapFill>, SourceError>;

    /// Counts for these endpoints from now on, and for no others.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn watch(&mut self, endpoints: &BTreeMap<Endpoint, u32>) -> Result<(), SourceError>;
}
