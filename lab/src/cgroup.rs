//! Creates a cgroup that limits kernel programs to the shards' packets.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::signals;

/// Number of attempts to remove the cgroup, and the interval between them.
const ATTEMPTS: u32 = 25;
const PAUSE: Duration = Duration::from_millis(20);

/// A cgroup v2 folder, removed on drop. The processes in it must have ended before.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Creates a cgroup named after `name` and this process's id. Removes cgroups of this name that belong to ended
    /// processes.
    ///
    /// # Errors
    /// When cgroup v2 is not available, or the cgroup does not accept processes.
    pub fn create(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("the mount table cannot be read")?;
        let root = root(&mounts).context("no file system of type cgroup2 is mounted")?;
        for left in fs::read_dir(&root)?.flatten() {
            let file_name = left.file_name();
            let owner = file_name.to_str().and_then(|text| text.strip_prefix(name)?.strip_prefix('-'));
            let is_gone =
                owner.is_some_and(|id| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists());
            if is_gone {
                // Fails while the cgroup has processes. Then it stays.
                let _ = fs::remove_dir(left.path());
            }
        }
        let path = root.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("the cgroup {} cannot be created", path.display()))?;
        let cgroup = Self { path };
        // Some folders can be created but do not accept processes, so try one.
        let mut nothing = Command::new("true");
        cgroup.enter(&mut nothing)?;
        let entered = nothing.stdin(Stdio::null()).status();
        entered.with_context(|| format!("no process can enter the cgroup {}", cgroup.path.display()))?;
        Ok(cgroup)
    }

    /// The path of the cgroup's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes `command`'s process enter the cgroup before it opens any socket.
    ///
    /// # Errors
    /// When the process may not enter the cgroup.
    pub fn enter(&self, command: &mut Command) -> Result<()> {
        let list = self.path.join("cgroup.procs");
        let list = File::options().write(true).open(&list).with_context(|| list.display().to_string());
        let mut list = list?;
        #[expect(unsafe_code, reason = "a process enters a cgroup between fork and exec")]
        // SAFETY: write is async-signal-safe, and the closure allocates nothing. The kernel takes 0 for the writing
        // process.
        unsafe {
            command.pre_exec(move || list.write_all(b"0"));
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process can leave the cgroup shortly after wait() has returned.
        for _ in 0..ATTEMPTS {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => signals::pause(PAUSE),
                Err(error) => {
                    return eprintln!("the cgroup {} cannot be removed: {error}", self.path.display());
                }
                Ok(()) => return,
            }
        }
        eprintln!("the cgroup {} cannot be removed: a process is still in it", self.path.display());
    }
}

/// The mount point of cgroup v2 in a mount table (`proc_pid_mountinfo(5)`). `None` if its path contains spaces.
fn root(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (file_system.starts_with("cgroup2 ") && root == "/" && !point.contains('\\'))
            .then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::{Cgroup, root};
    use crate::command;
    use std::process::Command;

    #[test]
    fn the_root_is_found_among_other_mounts() {
        let table = "31 24 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n\
                     32 24 0:28 /part /part rw - cgroup2 none rw\n\
                     33 24 0:28 / /sys/fs/cgroup/unified rw,relatime shared:10 master:2 - cgroup2 cgroup2 rw\n";
        assert_eq!(root(table), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(root("31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"), None);
    }

    #[test]
    fn a_process_that_enters_is_in_it_and_dropping_it_takes_it_away() {
        const NAME: &str = "hot-partition-lab-unit";
        let cgroup = match Cgroup::create(NAME) {
            Ok(cgroup) => cgroup,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{error:#}");
                println!(
                    "SKIPPED a_process_that_enters_is_in_it_and_dropping_it_takes_it_away: no cgroup: {error:#}"
                );
                return;
            }
        };
        let mut command = Command::new("cat");
        command.arg("/proc/self/cgroup");
        cgroup.enter(&mut command).unwrap();
        let listed = command::capture(&mut command).unwrap();
        let expected = format!("0::/{NAME}-{}", std::process::id());
        assert!(listed.lines().any(|line| line == expected), "{listed}");
        let path = cgroup.path().to_owned();
        drop(cgroup);
        assert!(!path.exists());
        // The next lab must remove the cgroup of an ended process.
        let mut ended = Command::new("true").spawn().unwrap();
        let left = path.with_file_name(format!("{NAME}-{}", ended.id()));
        ended.wait().unwrap();
        std::fs::create_dir(&left).unwrap();
        drop(Cgroup::create(NAME).unwrap());
        assert!(!left.exists());
    }
}
