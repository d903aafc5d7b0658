//! Removes what a cluster leaves in the system: processes, mounts, network namespaces, cgroups, folders.
//!
//! Everything is found by this test's own names, so it also works after a killed run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use lab::process::Signal;
use lab::{command, process, signals};

use super::cgroups;
use super::network::{CONTROL, NODES};

/// Attempts to end all processes, and the interval between them.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(200);

/// The folder with a node's sockets. A socket's path has at most 107 bytes, so it is a short one.
pub(crate) fn run_folder(node: &str) -> PathBuf {
    PathBuf::from("/run").join(node)
}

/// Whether the system has remains of a cluster.
pub(crate) fn are_there(state: &Path) -> bool {
    state.exists() || !namespaces().is_empty() || !cgroups::ours().is_empty()
}

/// Removes everything. The processes that this program holds must have ended before.
///
/// # Errors
/// When something is left. The error lists it.
pub(crate) fn remove(state: &Path) -> Result<()> {
    let mut left = Vec::new();
    let pids = end_processes();
    if !pids.is_empty() {
        left.push(format!("processes {pids:?}"));
    }
    unmount(state);
    for namespace in namespaces() {
        if let Err(error) = command::capture(Command::new("ip").args(["netns", "del", namespace])) {
            left.push(format!("namespace {namespace}: {error:#}"));
        }
    }
    left.extend(cgroups::remove().into_iter().map(|path| format!("cgroup {}", path.display())));
    for folder in NODES.iter().map(|node| run_folder(node)).chain([state.to_owned()]) {
        // On one file system, so that a mount that is left is not emptied.
        let mut remove = Command::new("rm");
        if let Err(error) = command::capture(remove.args(["-rf", "--one-file-system", "--"]).arg(&folder)) {
            left.push(format!("{}: {error:#}", folder.display()));
        }
    }
    if left.is_empty() { Ok(()) } else { bail!("not removed: {}", left.join("; ")) }
}

/// Kills every process in the cgroups of the cluster and returns those that are left.
pub(crate) fn end_processes() -> Vec<i32> {
    for _ in 0..ATTEMPTS {
        let pids = cgroups::processes();
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            // Fails if it has ended meanwhile.
            let _ = process::send_to(pid, Signal::KILL);
        }
        signals::pause(PAUSE);
    }
    cgroups::processes()
}

fn namespaces() -> Vec<&'static str> {
    [CONTROL].into_iter().chain(NODES).filter(|name| super::network::file(name).exists()).collect()
}

/// Unmounts what is below the folders of the cluster, the innermost first.
fn unmount(state: &Path) {
    let folders: Vec<PathBuf> = NODES.iter().map(|node| run_folder(node)).chain([state.to_owned()]).collect();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    points.retain(|point| folders.iter().any(|folder| Path::new(point).starts_with(folder)));
    points.reverse();
    for some in points.chunks(100) {
        // A mount may have gone with its namespace.
        let _ = command::capture(Command::new("umount").arg("-l").args(some));
    }
}
