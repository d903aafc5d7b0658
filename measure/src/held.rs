//! The kernel programs and maps that a process holds.

use std::collections::BTreeMap;
use std::io;

/// What the kernel knows of them, from `/proc/PID/fdinfo`. An object with several descriptors counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Programs.
    pub(crate) programs: u64,
    /// Time that the programs have run, while the kernel's statistics were on.
    pub(crate) nanoseconds: u64,
    /// Memory of the maps.
    pub(crate) map_bytes: u64,
}

impl Held {
    /// Reads what the process holds.
    ///
    /// # Errors
    /// When the process has ended, or belongs to another user.
    pub(crate) fn by(pid: u32) -> io::Result<Self> {
        let descriptors =
            std::fs::read_dir(format!("/proc/{pid}/fdinfo"))?.collect::<io::Result<Vec<_>>>()?;
        // One that has been closed meanwhile holds nothing.
        let texts =
            descriptors.iter().filter_map(|descriptor| std::fs::read_to_string(descriptor.path()).ok());
        Ok(Self::sum(texts))
    }

    fn sum(texts: impl Iterator<Item = String>) -> Self {
        let (mut programs, mut maps) = (BTreeMap::new(), BTreeMap::new());
        for text in texts {
            let field = |name: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                value.and_then(|value| value.trim().parse::<u64>().ok())
            };
            // A link names its program too, but not the program's time.
            if let (Some(id), Some(nanoseconds)) = (field("prog_id"), field("run_time_ns")) {
                programs.insert(id, nanoseconds);
            }
            if let (Some(id), Some(bytes)) = (field("map_id"), field("memlock")) {
                maps.insert(id, bytes);
            }
        }
        Self {
            programs: programs.len() as u64,
            nanoseconds: programs.values().sum(),
            map_bytes: maps.values().sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Held;

    #[test]
    fn an_object_with_two_descriptors_counts_once() {
        let program = "pos:\t0\nprog_type:\t8\nprog_jited:\t1\nmemlock:\t8192\nprog_id:\t9\nrun_time_ns:\t500\nrun_cnt:\t2\n";
        let link = "link_type:\tcgroup\nlink_id:\t3\nprog_id:\t9\n";
        let map = "map_type:\t1\nvalue_size:\t8\nmemlock:\t4096\nmap_id:\t7\nfrozen:\t0\n";
        let other = map.replace("map_id:\t7", "map_id:\t8");
        let texts = [program, link, map, program, map, &other, "pos:\t0\n"].map(str::to_owned);
        let expected = Held { programs: 1, nanoseconds: 500, map_bytes: 8192 };
        assert_eq!(Held::sum(texts.into_iter()), expected);
    }
}
