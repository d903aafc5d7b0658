//! A cgroup of its own, for processes whose sockets are to be told from all others: they are started in it.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

/// How often it is tried to remove one, and how long until the next time.
const ATTEMPTS: u32 = 25;
const PAUSE: Duration = Duration::from_millis(20);

/// An empty cgroup below the root of cgroup v2; removed when dropped, if no process is in it then.
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes it; its name is `name` and this process's id. Those of processes that are gone go, which a run that was
    /// interrupted has left.
    ///
    /// # Errors
    /// When there is no cgroup v2, or it may not be written.
    pub fn create(name: &str) -> Result<Self> {
        let root = probe::kernel::preflight::cgroup(None)?;
        for left in fs::read_dir(&root)?.flatten() {
            let file_name = left.file_name();
            let owner = file_name.to_str().and_then(|text| text.strip_prefix(name)?.strip_prefix('-'));
            let is_gone =
                owner.is_some_and(|id| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists());
            if is_gone {
                // The kernel refuses where a process is in it; then it stays.
                let _ = fs::remove_dir(left.path());
            }
        }
        let path = root.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("the cgroup {} cannot be made", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    #[expect(
        clippy::disallowed_methods,
        reason = "a drop cannot wait on a runtime, and waits half a second at most"
    )]
    fn drop(&mut self) {
        // A process that has been waited for may leave it a moment later.
        for _ in 0..ATTEMPTS {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => std::thread::sleep(PAUSE),
                Err(error) => return eprintln!("the cgroup {} stays behind: {error}", self.path.display()),
                Ok(()) => return,
            }
        }
        eprintln!("the cgroup {} stays behind: a process is in it", self.path.display());
    }
}
