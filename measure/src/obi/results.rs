//! The results, in a form that passes from a guest to its host.

use anyhow::Result;
use lab::signals;
use serde::{Deserialize, Serialize};

use super::Options;
use super::watcher::Watcher;

/// All results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// Date, kernel and CPU of the measured system.
    pub(super) machine: String,
    /// OBI's version, by its own log.
    pub(super) obi_version: Option<String>,
    /// Rounds of the costs.
    pub(super) rounds: u32,
    /// Requests of each kind of traffic.
    pub(super) requests: u32,
    pub(super) counts: Vec<Count>,
    pub(super) costs: Vec<Cost>,
    pub(super) memory: Vec<Memory>,
    /// What could not be measured, with the reason.
    pub(super) failures: Vec<String>,
}

/// Where it was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// In the running kernel.
    Here,
    /// In an emulated kernel of this name.
    Emulated(String),
}

/// What was counted of one kind of traffic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Count {
    pub(super) traffic: String,
    /// Requests sent and answered.
    pub(super) sent: u64,
    /// The shard's own count.
    pub(super) shard: u64,
    /// The probe's count. `None` if it did not run.
    pub(super) probe: Option<u64>,
    /// OBI's count. `None` if it did not run.
    pub(super) obi: Option<u64>,
}

/// The cost of one kind of traffic in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) watcher: Watcher,
    pub(super) traffic: String,
    pub(super) per_second: f64,
    /// CPU time of the machine for a request.
    pub(super) cpu_microseconds: f64,
    /// Time of the watcher's programs for a request, by the kernel's statistics.
    pub(super) program_nanoseconds: f64,
}

/// Memory of a watcher at the end of a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) watcher: Watcher,
    /// Proportional set size of the process.
    pub(super) process_bytes: u64,
    /// Memory of its maps in the kernel.
    pub(super) map_bytes: u64,
    pub(super) programs: u64,
}

impl Results {
    pub(super) fn new(options: &Options, machine: String) -> Self {
        Self {
            machine,
            obi_version: None,
            rounds: options.rounds,
            requests: options.requests,
            counts: Vec::new(),
            costs: Vec::new(),
            memory: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Records a failure. A signal is no failure, and ends the run.
    pub(super) fn fail(&mut self, failure: String) -> Result<()> {
        signals::check()?;
        self.failures.push(failure);
        Ok(())
    }

    /// Whether everything was measured.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }
}
