//! The cgroups of the nodes, in each hierarchy of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::network::NODES;

const ROOT: &str = "/sys/fs/cgroup";

/// The cgroup of containerd, whose helpers for each pod outlive it.
pub(crate) const RUNTIMES: &str = "hpl-runtimes";

/// Makes a cgroup for each node in each hierarchy: one on a machine with cgroup v2, else those of v1 and `unified`.
///
/// # Errors
/// When a cgroup cannot be made.
pub(crate) fn create() -> Result<()> {
    let hierarchies = hierarchies();
    if hierarchies.is_empty() {
        bail!("{ROOT} has neither cgroup v2 nor hierarchies of v1: the kubelet cannot run");
    }
    for hierarchy in hierarchies {
        for node in NODES {
            let folder = hierarchy.join(node);
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
            // In v1 a new cgroup has no CPUs and no memory, and takes no process.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if hierarchy.ends_with("cpuset") {
                    fs::copy(hierarchy.join(file), folder.join(file)).with_context(|| file.to_owned())?;
                }
            }
        }
    }
    Ok(())
}

/// The cgroups of this test, also of an earlier run.
pub(crate) fn ours() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        for name in NODES {
            found.push(hierarchy.join(name));
        }
        let entries = fs::read_dir(&hierarchy).into_iter().flatten().flatten();
        found.extend(
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(RUNTIMES))
                .map(|entry| entry.path()),
        );
    }
    found.retain(|folder| folder.is_dir());
    found
}

/// The processes in all of them.
pub(crate) fn processes() -> Vec<i32> {
    let mut pids = Vec::new();
    for folder in ours() {
        walk(&folder, &mut |folder| {
            let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
        });
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Removes them and returns those that are left.
pub(crate) fn remove() -> Vec<PathBuf> {
    for folder in ours() {
        // Fails for a cgroup with processes, which is then returned.
        walk(&folder, &mut |folder| drop(fs::remove_dir(folder)));
    }
    ours()
}

/// The mount points of all hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from(ROOT);
    if root.join("cgroup.controllers").is_file() {
        return vec![root];
    }
    let entries = fs::read_dir(&root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.join("cgroup.procs").is_file()).collect()
}

/// Calls `visit` for every folder below `folder`, the innermost first, and then for itself.
fn walk(folder: &Path, visit: &mut impl FnMut(&Path)) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        walk(&entry.path(), visit);
    }
    visit(folder);
}
