//! A cgroup of its own, for processes whose sockets are to be told from all others.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// An empty cgroup below the root of cgroup v2; removed when dropped, if no process is in it then.
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes it; its name is `name` and this process's id. Empty ones of that name go, which a run that was interrupted
    /// has left.
    ///
    /// # Errors
    /// When there is no cgroup v2, or it may not be written.
    pub fn create(name: &str) -> Result<Self> {
        let root = probe::preflight::cgroup(None)?;
        for left in fs::read_dir(&root)?.flatten() {
            if left.file_name().to_string_lossy().starts_with(&format!("{name}-")) {
                // The kernel refuses where a process is in it: then it is another run's.
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

    /// What `start` starts is in the cgroup from its first moment on, and so are its sockets: this process is there
    /// meanwhile, with all its threads.
    ///
    /// # Errors
    /// When this process may not be moved.
    pub fn start<T>(&self, start: impl FnOnce() -> T) -> Result<T> {
        let root = self.path.parent().context("a cgroup's parent")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).context("a process's cgroup")?;
        enter(&self.path)?;
        let started = start();
        enter(&root.join(own))?;
        Ok(started)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!("the cgroup {} stays behind: {error}", self.path.display());
        }
    }
}

fn enter(cgroup: &Path) -> Result<()> {
    let list = cgroup.join("cgroup.procs");
    fs::write(&list, std::process::id().to_string()).with_context(|| format!("{}", list.display()))
}
