//! `/status`: programs, features, privileges, losses.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// The running kernel.
    pub kernel_release: String,
    /// The cgroup whose sockets are watched.
    pub cgroup: String,
    /// The layout of the kernel object's maps.
    pub object_layout: u32,
    /// The outcome for each program.
    pub programs: Vec<ProgramStatus>,
    /// What works.
    pub features: Vec<Feature>,
    /// What the process may do.
    pub privileges: PrivilegeStatus,
    /// What the probe costs and what it lost.
    #[serde(rename = "itself")]
    pub self_status: SelfStatus,
    /// Since when is counted.
    pub counting: Counting,
    /// In order of id.
    pub shards: Vec<ShardTarget>,
}

/// The outcome for one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramStatus {
    /// The program's name.
    pub program: Cow<'static, str>,
    /// The kernel's hook.
    pub hook: Cow<'static, str>,
    /// Whether the probe refuses to run without it.
    pub required: bool,
    /// Whether it is attached.
    pub attached: bool,
    /// Why it is not; absent when it is.
    pub why: Option<String>,
    /// A short word for the same; "ok" when attached.
    pub reason: Cow<'static, str>,
}

/// A feature of the probe, also in `probe_feature_enabled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Its name.
    pub feature: Cow<'static, str>,
    /// Whether it works.
    pub enabled: bool,
    /// A short word why not; "ok" if it does.
    pub reason: Cow<'static, str>,
    /// What to do, if it does not.
    pub remedy: Option<Cow<'static, str>>,
}

/// The privileges over all threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivilegeStatus {
    /// Whether no thread has any capability left.
    pub dropped: bool,
    /// Effective set, as the kernel writes it.
    pub effective: String,
    /// Permitted set.
    pub permitted: String,
    /// Bounding set; it stays where the process may not change it.
    pub bounding: String,
    /// Whether no thread can gain privileges by starting programs.
    pub no_new_privileges: bool,
    /// How many threads there are.
    pub threads: usize,
    /// What is kept, and why.
    pub kept: Option<Cow<'static, str>>,
}

/// What the probe costs and what it lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfStatus {
    /// Absent where the kernel does not count it: see the feature `program_stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<Vec<ProgramRuns>>,
    /// Only maps that can fill: most have all their entries from the start.
    pub maps: Vec<MapFill>,
    /// Samples lost, by reason.
    pub events_lost: BTreeMap<Cow<'static, str>, u64>,
}

/// How often a program ran, and how long in all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramRuns {
    /// The program's name.
    pub program: String,
    /// Runs since it was loaded.
    pub runs: u64,
    /// Seconds they took together.
    pub run_seconds: f64,
}

/// How full a map is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapFill {
    /// The map's name.
    pub map: Cow<'static, str>,
    /// Entries it has.
    pub entries: u64,
    /// Entries it has room for.
    pub max_entries: u64,
}

/// Since when the kernel has been counting.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counting {
    /// When it began.
    pub since: f64,
    /// The pinned set; null without one: then counting ends with the probe.
    pub pinned: Option<PinnedCounting>,
}

/// A pinned set of maps and links.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PinnedCounting {
    /// Where.
    pub directory: String,
    /// Whether this probe goes on with what another one left.
    pub adopted: bool,
    /// How many probes have gone on with it since counting began.
    pub adoptions: u64,
    /// Whether the programs are others than the probe before had.
    pub programs_changed: bool,
    /// How long nothing was counted while the programs were replaced: 0 where that was done in place.
    pub gap_seconds: f64,
    /// Why an existing set was removed; null if it was not.
    pub removed_because: Option<String>,
}

/// Where a shard is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardTarget {
    /// Its position in `SHARD_URLS`.
    pub shard_id: usize,
    /// As configured.
    pub url: String,
    /// As last looked up.
    pub addresses: Vec<String>,
    /// Why it, or a part of it, is not watched.
    pub problem: Option<String>,
}
