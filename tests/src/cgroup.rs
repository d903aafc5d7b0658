//! A cgroup of its own, for processes whose sockets are to be told from all others: they are started in it.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

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
        let root = probe::preflight::cgroup(None)?;
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
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.path) {
            eprintln!("the cgroup {} stays behind: {error}", self.path.display());
        }
    }
}
