//! Derives the largest number of connections from the limits of descriptors and memory.

use std::num::NonZeroUsize;
use std::path::Path;

/// Largest number of open connections, whatever descriptors and memory there are.
pub const MAX_CONNECTIONS: usize = 16_384;
/// Smallest number of open connections, however little memory there is.
pub const MIN_CONNECTIONS: usize = 32;
/// Connections beyond the limit that are served at the same time. Only control requests are answered on them.
pub const RESERVE: usize = 32;
/// Largest memory of one connection in bytes: task and buffers of about 20 KiB, a head that is incomplete (32 KiB in a
/// buffer that doubles), and content too small to be counted. docs/limits.md has the measurement.
pub const CONNECTION_BYTES: u64 = 80 * 1024;
/// Limit in bytes of all bodies being received or handled: of requests, and of answers of other processes.
pub const BODIES_BYTES: usize = 16 << 20;
/// Limit in bytes of all answers that clients have not read yet. The largest answer is the probe's list of keys of
/// about 13 MiB.
pub const ANSWERS_BYTES: usize = 32 << 20;
/// Like [`ANSWERS_BYTES`], for answers to control requests when the other answers have used it up.
pub const CONTROL_ANSWERS_BYTES: usize = 4 << 20;
/// Bodies and answers below this size are not counted. They belong to [`CONNECTION_BYTES`].
pub const SMALL_BYTES: usize = 4 * 1024;
/// Error numbers of Linux for "too many open files": of the process, and of the system.
const TOO_MANY_FILES: [i32; 2] = [24, 23];
/// Descriptors for anything but connections: standard streams, logs, traces, signals.
const OTHER_DESCRIPTORS: u64 = 24;
/// Descriptors of a worker: its listener and its runtime.
const WORKER_DESCRIPTORS: u64 = 4;
/// Spare descriptors of a process. One is given up to accept a connection when there is no other.
pub(crate) const SPARES: usize = 8;

/// What a process needs beside its clients' connections, and the memory that it may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// The memory limit of the process in bytes, if there is one.
    pub memory_limit: Option<u64>,
    /// Memory for anything but connections, bodies and answers.
    pub bytes: u64,
    /// Descriptors for connections to other processes.
    pub descriptors: u64,
}

impl Needs {
    /// The largest number of open connections on `workers` runtimes with a limit of `descriptors` open files.
    #[must_use]
    pub fn connections(&self, descriptors: u64, workers: NonZeroUsize) -> usize {
        let others =
            OTHER_DESCRIPTORS + WORKER_DESCRIPTORS * workers.get() as u64 + (SPARES + RESERVE) as u64;
        let by_descriptors = descriptors.saturating_sub(others + self.descriptors);
        let by_memory = self.memory_limit.map_or(u64::MAX, |limit| self.bytes_left(limit) / CONNECTION_BYTES);
        let most = usize::try_from(by_descriptors.min(by_memory)).unwrap_or(usize::MAX);
        most.saturating_sub(if by_memory < by_descriptors { RESERVE } else { 0 })
            .clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
    }

    /// The largest memory of the process in bytes with `connections` open connections.
    #[must_use]
    pub fn most_bytes(&self, connections: usize) -> u64 {
        self.bytes + CONTENT_BYTES + (connections + RESERVE) as u64 * CONNECTION_BYTES
    }

    fn bytes_left(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.bytes + CONTENT_BYTES)
    }
}

/// The memory for bodies and answers together.
const CONTENT_BYTES: u64 = (BODIES_BYTES + ANSWERS_BYTES + CONTROL_ANSWERS_BYTES) as u64;

/// The largest number of files and connections that this process may have open at the same time.
#[must_use]
pub fn open_files() -> u64 {
    rlimit::Resource::NOFILE.get_soft().unwrap_or(1_024)
}

/// The smallest memory limit of this process's control groups (v2) in bytes. `None` without one.
#[must_use]
pub fn cgroup_memory_max() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    smallest_limit(Path::new("/sys/fs/cgroup"), Path::new(group))
}

/// The smallest `memory.max` of `group` below `root` and the groups around it. A container that does not see the groups
/// around its own has its own at `root`.
fn smallest_limit(root: &Path, group: &Path) -> Option<u64> {
    let limit = |group: &Path| {
        let text = std::fs::read_to_string(root.join(group).join("memory.max")).ok()?;
        // "max" is no number and no limit.
        text.trim().parse().ok()
    };
    group.ancestors().filter_map(limit).min()
}

/// Whether an operation failed because there is no descriptor left.
#[must_use]
pub fn lacks_descriptor(err: &std::io::Error) -> bool {
    err.raw_os_error().is_some_and(|number| TOO_MANY_FILES.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    #[test]
    fn descriptors_and_memory_limit_the_connections() {
        let none = Needs::default();
        assert_eq!(none.connections(1 << 20, TWO), MAX_CONNECTIONS);
        assert_eq!(none.connections(0, TWO), MIN_CONNECTIONS);
        assert_eq!(none.connections(256, TWO), 256 - 24 - 16 - 32);
        assert_eq!(Needs { descriptors: 96, ..none }.connections(256, TWO), 88);
        let small = Needs { memory_limit: Some(256 << 20), bytes: 100 << 20, descriptors: 0 };
        let connections = small.connections(1 << 20, TWO);
        assert!((500..MAX_CONNECTIONS).contains(&connections), "{connections}");
        assert!(small.most_bytes(connections) <= 256 << 20);
        assert!(small.most_bytes(connections + 1) > 256 << 20);
        assert_eq!(Needs { memory_limit: Some(1), ..none }.connections(1 << 20, TWO), MIN_CONNECTIONS);
    }

    #[test]
    fn the_smallest_limit_of_all_groups_holds() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("memory.max"), "max\n").unwrap();
        std::fs::write(root.join("a/memory.max"), "4096\n").unwrap();
        std::fs::write(root.join("a/b/memory.max"), "8192\n").unwrap();
        assert_eq!(smallest_limit(root, Path::new("a/b")), Some(4_096));
        assert_eq!(smallest_limit(root, Path::new("")), None);
        assert_eq!(smallest_limit(&root.join("a"), Path::new("unseen/group")), Some(4_096));
    }
}
