//! Loads and attaches the kernel programs, then drops all privileges.

use std::path::{Path, PathBuf};

use aya::Ebpf;
use protocol::shard_urls::ShardUrls;

use crate::error::ProbeError;
use crate::kernel::attach::{self, Links};
use crate::kernel::cgroup::Cgroup;
use crate::kernel::log::KernelLog;
use crate::kernel::namespace::Placed;
use crate::kernel::object::Switches;
use crate::kernel::pin::folder::Folder;
use crate::kernel::pin::{Identity, PinnedSet};
use crate::kernel::statistics::Statistics;
use crate::kernel::{object, preflight, privileges};
use crate::metrics::ProbeMetrics;
use crate::probe::Probe;
use crate::source::KernelSource;

/// What attaching depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelSettings {
    /// The cgroup to attach to. `None` selects the root cgroup from the mount table.
    pub(crate) cgroup: Option<PathBuf>,
    /// The settings of the kernel programs.
    pub(crate) switches: Switches,
    /// Whether the kernel counts the programs' runs.
    pub(crate) program_stats: bool,
    /// Where to pin maps and links. `None` pins nothing.
    pub(crate) pin: Option<PathBuf>,
}

impl KernelSettings {
    /// Attaches to the lab's shards, or to a store. Call it before the process has other threads, because privileges
    /// belong to a thread.
    pub(crate) fn attach(
        &self,
        lab: Option<ShardUrls>,
        metrics: ProbeMetrics,
    ) -> Result<(Probe, Option<KernelLog>), ProbeError> {
        let object = object::embedded()?;
        privileges::sufficient(privileges::of_this_process()?.effective)?;
        let cgroup = Cgroup::at(preflight::cgroup(self.cgroup.as_deref())?);
        let (mut ebpf, links) = self.load(object, cgroup.path(), lab.as_ref())?;
        let kernel_log = if self.switches.kernel_log { Some(KernelLog::take(&mut ebpf)?) } else { None };
        let (source, programs) = KernelSource::attach(ebpf, self.switches.protocol, cgroup.path(), links)?;
        let counting = source.counting();
        if let Some(pinned) = &counting.pinned {
            let (folder, gap) = (&pinned.directory, pinned.gap_seconds);
            if pinned.adopted {
                let since = counting.since;
                tracing::info!(folder, since, gap, "adopted the pinned set");
            } else {
                tracing::info!(folder, "pinned");
            }
        }
        let statistics = Statistics::switch(self.program_stats);
        let placed = Placed::detect();
        privileges::drop_all()?;
        tracing::info!(cgroup = %cgroup.path().display(), "attached; privileges dropped");
        let probe = Probe::of(lab, cgroup, programs, self.switches, metrics, Box::new(source))
            .with_statistics(statistics)
            .with_placed(placed)
            .with_counting(counting);
        Ok((probe, kernel_log))
    }

    /// Loads the object with new maps, or with the maps of the pinned set.
    fn load(
        &self,
        object: &[u8],
        cgroup: &Path,
        lab: Option<&ShardUrls>,
    ) -> Result<(Ebpf, Links), ProbeError> {
        let load = |pins: &[_]| object::load_pinned(object, self.switches, pins);
        let Some((folder, shards)) = self.pin.as_ref().zip(lab) else {
            return Ok((load(&[])?, Links::Held(Vec::new())));
        };
        let folder = Folder::open(folder)?;
        let identity = Identity::new(shards, object, cgroup, attach::required())?;
        let (ebpf, set) = PinnedSet::begin(folder, &identity, load)?;
        Ok((ebpf, Links::Pinned(set)))
    }
}
