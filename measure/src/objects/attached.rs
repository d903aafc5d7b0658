//! An attached kernel object: its counts, and the kernel's statistics of its programs.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{Array, HashMap, Map, PerCpuArray};
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Program, ProgramError, ProgramInfo, ProgramType};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader};
use probe_common::endpoint::{Endpoint, Listener};
use probe_common::keys::SETS;
use probe_common::pending::STAGED_KEYS;
use probe_common::ports::{bit, word};
use probe_common::requests::Requests;

/// The compared programs.
const PROGRAMS: [&str; 2] = ["ingress", "egress"];

/// The number of the only shard.
const SHARD: u32 = 0;

/// The kernel's statistics of the [`PROGRAMS`] together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Statistics {
    /// Runs: one for each packet.
    pub(super) runs: u64,
    /// Their time, with the time that the statistics take themselves.
    pub(super) nanoseconds: u64,
}

impl Statistics {
    /// Returns the growth since `before`.
    pub(super) const fn since(self, before: Self) -> Self {
        Self { runs: self.runs - before.runs, nanoseconds: self.nanoseconds - before.nanoseconds }
    }
}

/// An object whose programs run for one shard. Dropping it detaches them.
pub(super) struct Attached {
    ebpf: Ebpf,
}

impl Attached {
    /// Loads an object as the probe does for HTTP, and attaches it to a cgroup.
    ///
    /// The probe's own loader refuses objects of another layout. This one needs only the maps of endpoints and requests.
    pub(super) fn new(object: &[u8], cgroup: &Path, shard: SocketAddr) -> Result<Self> {
        let helper = BpfHelper::BPF_FUNC_get_netns_cookie;
        let placed = u8::from(is_helper_supported(ProgramType::CgroupSkb, helper).unwrap_or(false));
        let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))?;
        let mut loader = EbpfLoader::new();
        // Older objects lack some of them.
        loader.override_global("AYA_LOG_LEVEL", &0_u8, false);
        loader.override_global("PACKETS_HAVE_NAMESPACE", &placed, false);
        loader.map_max_entries("KEYS", SETS);
        loader.map_max_entries("FAMILY_LATENCY", 1);
        loader.map_max_entries("STAGED", u32::try_from(cpus)?.saturating_mul(STAGED_KEYS));
        let ebpf = loader.load(object).context("the kernel object cannot be loaded")?;
        let mut attached = Self { ebpf };
        attached.watch(shard)?;
        let cgroup = File::open(cgroup).with_context(|| format!("cannot open {}", cgroup.display()))?;
        for (name, program) in attached.ebpf.programs_mut() {
            attach(name, program, &cgroup).map_err(|error| anyhow!("program {name}: {}", reason(&error)))?;
        }
        Ok(attached)
    }

    /// Writes the only endpoint into the maps.
    fn watch(&mut self, shard: SocketAddr) -> Result<()> {
        let (endpoint, port) = (Endpoint::from(shard), shard.port());
        Array::<_, u64>::try_from(self.map_mut("PORTS")?)?.set(word(port), bit(port), 0)?;
        Array::<_, u32>::try_from(self.map_mut("ADOPTS")?)?.set(0, 1, 0)?;
        let listeners = HashMap::<_, Endpoint, Listener>::try_from(self.map_mut("SHARDS")?);
        if let Ok(mut listeners) = listeners {
            listeners.insert(endpoint, Listener::anywhere(SHARD), 0)?;
        } else {
            // Before layout 13 the value was the shard's number.
            let shards = HashMap::<_, Endpoint, u32>::try_from(self.map_mut("SHARDS")?);
            shards.context("the map SHARDS has an unknown layout")?.insert(endpoint, SHARD, 0)?;
        }
        Array::<_, u32>::try_from(self.map_mut("CHANGES")?)?.set(0, 1, 0)?;
        Ok(())
    }

    fn map_mut(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf.map_mut(name).with_context(|| too_old(name))
    }

    /// Returns the requests that the object has counted.
    pub(super) fn requests(&self) -> Result<Requests> {
        const NAME: &str = "REQUESTS";
        let map = self.ebpf.map(NAME).with_context(|| too_old(NAME))?;
        let map = PerCpuArray::<_, Requests>::try_from(map).with_context(|| too_old(NAME))?;
        let mut all = Requests::default();
        for cpu in map.get(&SHARD, 0)?.iter() {
            all += cpu;
        }
        Ok(all)
    }

    /// Returns the statistics so far.
    pub(super) fn statistics(&self) -> Result<Statistics> {
        let mut all = Statistics::default();
        for name in PROGRAMS {
            let info = self.info(name)?;
            all.runs += info.run_count();
            all.nanoseconds += u64::try_from(info.run_time().as_nanos())?;
        }
        Ok(all)
    }

    /// Returns the instructions that the verifier has processed, by program.
    pub(super) fn verified(&self) -> Result<[u32; 2]> {
        let [ingress, egress] = PROGRAMS.map(|name| self.info(name));
        Ok([ingress?, egress?].map(|info| info.verified_instruction_count().unwrap_or_default()))
    }

    fn info(&self, name: &str) -> Result<ProgramInfo> {
        let program = self.ebpf.program(name).with_context(|| format!("the object has no program {name}"))?;
        program.info().with_context(|| format!("the kernel does not describe {name}"))
    }
}

fn too_old(map: &str) -> String {
    format!("the object's map {map} is absent or too old: use an object of commit 478947c or later")
}

/// Attaches a program, unless it is one of another protocol.
fn attach(name: &str, program: &mut Program, cgroup: &File) -> Result<(), ProgramError> {
    // aya creates links only in this mode.
    const MODE: CgroupAttachMode = CgroupAttachMode::Single;
    let direction = match name {
        "ingress" => Some(CgroupSkbAttachType::Ingress),
        "egress" => Some(CgroupSkbAttachType::Egress),
        _ => None,
    };
    match (program, direction) {
        (Program::CgroupSkb(program), Some(direction)) => {
            program.load()?;
            program.attach(cgroup, direction, MODE).map(drop)
        }
        (Program::SockOps(program), _) => {
            program.load()?;
            program.attach(cgroup, MODE).map(drop)
        }
        (Program::CgroupSock(program), _) => {
            program.load()?;
            program.attach(cgroup, MODE).map(drop)
        }
        _ => Ok(()),
    }
}

/// Returns an error in one line. The verifier's reason is the line above its counts.
fn reason(error: &ProgramError) -> String {
    let ProgramError::LoadError { io_error, verifier_log } = error else { return error.to_string() };
    let log = verifier_log.to_string();
    let is_count = |line: &&str| {
        ["processed ", "verification time", "stack depth"].iter().any(|count| line.starts_with(count))
    };
    let found = log.lines().rev().find(|line| !line.trim().is_empty() && !is_count(line));
    format!("the kernel refuses it ({io_error}): {}", found.unwrap_or("the verifier printed nothing"))
}
