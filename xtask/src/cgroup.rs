//! A cgroup for the shards alone: on it the kernel runs the probe's programs for their packets only, and not for each
//! packet of the machine.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::ports::Ports;
use crate::signals;

/// How often it is tried to remove one, and how long until the next time.
const ATTEMPTS: u32 = 25;
const PAUSE: Duration = Duration::from_millis(20);

/// A folder of cgroup v2; removed when dropped, which must be after the processes in it have ended.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// That of the lab on `ports`, of which only one can run; an interrupted lab may have left it.
    ///
    /// # Errors
    /// When there is no cgroup v2, or no process may be put into one there.
    pub(crate) fn create(ports: Ports) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let root = root(&mounts).ok_or(io::ErrorKind::NotFound)?;
        let path = root.join(format!("hot-partition-lab-ports-{}", ports.base()));
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let cgroup = Self { path };
        // Not every folder that can be made takes processes: asked once, before shards depend on it.
        let mut nothing = Command::new("true");
        cgroup.enter(&mut nothing)?;
        nothing.stdin(Stdio::null()).status()?;
        Ok(cgroup)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Has `command`'s process, and so each of its sockets, in it from the first moment on.
    ///
    /// # Errors
    /// When processes may not be put there.
    pub(crate) fn enter(&self, command: &mut Command) -> io::Result<()> {
        let mut list = File::options().write(true).open(self.path.join("cgroup.procs"))?;
        #[expect(unsafe_code, reason = "a process enters a cgroup between fork and exec")]
        // SAFETY: write is async-signal-safe, and the closure allocates nothing. The kernel takes 0 for the writer.
        unsafe {
            command.pre_exec(move || list.write_all(b"0"));
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has been waited for may leave it a moment later.
        for _ in 0..ATTEMPTS {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => signals::pause(PAUSE),
                Err(error) => return eprintln!("the cgroup {} stays behind: {error}", self.path.display()),
                Ok(()) => return,
            }
        }
        eprintln!("the cgroup {} stays behind: a process is in it", self.path.display());
    }
}

/// The mount point of cgroup v2 in a mount table (`proc_pid_mountinfo(5)`), if its path has no blank.
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
    use crate::ports::Ports;
    use crate::process;

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
        // Of its own, as another run of the tests may be at it.
        let ports = Ports::new(61_000 + (std::process::id() % 4_000) as u16);
        let cgroup = match Cgroup::create(ports) {
            Ok(cgroup) => cgroup,
            Err(error) => {
                assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{error}");
                println!(
                    "SKIPPED a_process_that_enters_is_in_it_and_dropping_it_takes_it_away: no cgroup: {error}"
                );
                return;
            }
        };
        let mut command = std::process::Command::new("cat");
        command.arg("/proc/self/cgroup");
        cgroup.enter(&mut command).unwrap();
        let said = process::capture(&mut command).unwrap();
        let expected = format!("0::/hot-partition-lab-ports-{}", ports.base());
        assert!(said.lines().any(|line| line == expected), "{said}");
        let path = cgroup.path().to_owned();
        // What an interrupted lab has left is taken.
        std::mem::forget(cgroup);
        drop(Cgroup::create(ports).unwrap());
        assert!(!path.exists());
    }
}
