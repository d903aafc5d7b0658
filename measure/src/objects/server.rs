//! The shard that answers, without its capacity model.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;
use lab::cgroup::Cgroup;
use lab::process::{Log, Process};

use crate::accuracy::pinned_thread::PinnedThread;
use crate::gateway_bench::server::{program, started};

/// No service time and no limit.
const SETTINGS: [(&str, &str); 5] = [
    ("BASE_LATENCY_MS", "0"),
    ("LOAD_LATENCY_FACTOR_MS", "0"),
    ("SHARD_CONCURRENCY", "0"),
    ("SHARD_ID", "0"),
    ("PORT", "0"),
];

/// A running shard. Only its packets pass programs that are attached to its cgroup.
pub(super) struct Server {
    address: SocketAddr,
    // Dropped in this order: the process must end before its cgroup is removed.
    _shard: Process,
    cgroup: Cgroup,
}

impl Server {
    /// Starts `shard` from the folder `programs` on one CPU.
    ///
    /// # Errors
    /// When it does not start, or no cgroup can be created.
    pub(super) fn start(programs: &Path, cpu: usize) -> Result<Self> {
        let cgroup = Cgroup::create("hot-partition-lab-objects")?;
        let mut command = program(&programs.join("shard"));
        command.envs(SETTINGS);
        cgroup.enter(&mut command)?;
        // A process inherits the CPUs of the thread that starts it.
        let _pinned = PinnedThread::on(cpu)?;
        let mut shard = Process::start("shard", command, Log::unnamed()?)?;
        let address = started(&mut shard, Process::reported_address)?;
        Ok(Self { address, _shard: shard, cgroup })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }
}
