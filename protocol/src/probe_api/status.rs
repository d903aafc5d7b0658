//! Declares `/status`: programs, features, privileges, losses.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `/status`: the state of the probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// The running kernel.
    pub kernel_release: String,
    /// The cgroup whose sockets are watched.
    pub cgroup: String,
    /// The layout of the kernel object's maps.
    pub object_layout: u32,
    /// Why the probe does not see the packets of a shard; null if it sees all shards.
    #[serde(default)]
    pub blind: Option<String>,
    /// The state of each program.
    pub programs: Vec<ProgramStatus>,
    /// The features and whether they work.
    pub features: Vec<Feature>,
    /// The privileges of the process.
    pub privileges: PrivilegeStatus,
    /// The cost of the probe and its losses.
    #[serde(rename = "itself")]
    pub self_status: SelfStatus,
    /// When counting started.
    pub counting: Counting,
    /// The shards, in order of id.
    pub shards: Vec<ShardTarget>,
    /// The nodes' probes that an aggregator reads; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<NodeStatus>>,
}

/// One node's probe, as an aggregator sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The probe's URL.
    pub url: String,
    /// The node's name, as last reported.
    pub node: Option<String>,
    /// When the probe began to count, as last reported.
    pub counting_since: Option<f64>,
    /// The shards that it watches, or watched when it last answered.
    pub shards: Vec<u32>,
    /// Why it cannot be read; null if it can.
    pub problem: Option<String>,
}

/// The state of one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramStatus {
    /// The program's name.
    pub program: Cow<'static, str>,
    /// The kernel's hook.
    pub hook: Cow<'static, str>,
    /// Whether the probe refuses to run without the program.
    pub required: bool,
    /// Whether the program is attached.
    pub attached: bool,
    /// Why the program is not attached; absent if it is.
    pub why: Option<String>,
    /// The same as a short stable word; "ok" if attached.
    pub reason: Cow<'static, str>,
}

/// A feature of the probe, also in `probe_feature_enabled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// The feature's name.
    pub feature: Cow<'static, str>,
    /// Whether the feature works.
    pub enabled: bool,
    /// Why it does not work, as a short word; "ok" if it works.
    pub reason: Cow<'static, str>,
    /// How to enable it, if it does not work.
    pub remedy: Option<Cow<'static, str>>,
}

/// The privileges of all threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivilegeStatus {
    /// Whether no thread has any capability left.
    pub dropped: bool,
    /// Effective set, in the format of the kernel.
    pub effective: String,
    /// Permitted set.
    pub permitted: String,
    /// Bounding set. It is unchanged if the process may not change it.
    pub bounding: String,
    /// Whether no thread can gain privileges by executing programs.
    pub no_new_privileges: bool,
    /// Number of threads.
    pub threads: usize,
    /// The privileges that are kept, and the reason.
    pub kept: Option<Cow<'static, str>>,
}

/// The cost of the probe and its losses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfStatus {
    /// Absent if the kernel does not measure the runs; see the feature `program_stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs: Option<Vec<ProgramRuns>>,
    /// The maps that can fill. Most maps have all their entries from the start.
    pub maps: Vec<MapFill>,
    /// Lost samples, by reason.
    pub events_lost: BTreeMap<Cow<'static, str>, u64>,
}

/// Number and total duration of a program's runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramRuns {
    /// The program's name.
    pub program: String,
    /// Runs since the program was loaded.
    pub runs: u64,
    /// Total duration of the runs in seconds.
    pub run_seconds: f64,
}

/// The fill level of a map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapFill {
    /// The map's name.
    pub map: Cow<'static, str>,
    /// Current number of entries.
    pub entries: u64,
    /// Maximum number of entries.
    pub max_entries: u64,
}

/// When the kernel started counting, and the pinned state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counting {
    /// When counting started.
    pub since: f64,
    /// The pinned set; null without one. Counting then ends with the probe.
    pub pinned: Option<PinnedCounting>,
}

/// A pinned set of maps and links.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PinnedCounting {
    /// The directory of the pinned set.
    pub directory: String,
    /// Whether this probe has adopted the pinned set of an earlier one.
    pub adopted: bool,
    /// Number of probes that have adopted the set since counting started.
    pub adoptions: u64,
    /// Whether the programs differ from those of the previous probe.
    pub programs_changed: bool,
    /// Time without counting while the programs were replaced, in seconds; 0 if they were replaced in place.
    pub gap_seconds: f64,
    /// Why an existing set was removed; null if it was not.
    pub removed_because: Option<String>,
}

/// The location of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardTarget {
    /// The shard's position in `SHARD_URLS`.
    pub shard_id: usize,
    /// The configured URL.
    pub url: String,
    /// The addresses of the last lookup.
    pub addresses: Vec<String>,
    /// For each address, the kernel's cookie of the network namespace that it is watched in. Null if the namespace is
    /// not known: the address is then watched in every namespace.
    #[serde(default)]
    pub namespaces: Vec<Option<u64>>,
    /// Why the shard is not watched, or only partly.
    pub problem: Option<String>,
}

/// One result of `probe check --json`, which prints one on each line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreflightFinding {
    /// What was checked.
    pub check: String,
    /// Whether the check passed.
    pub passed: bool,
    /// What was found.
    pub found: String,
    /// What to do when the check did not pass.
    pub remedy: Option<String>,
}

impl std::fmt::Display for PreflightFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.check, self.found)?;
        self.remedy.iter().try_for_each(|remedy| write!(f, ": {remedy}"))
    }
}
