//! A bpffs of a test's own.

use std::path::PathBuf;
use std::process::Command;

/// Mounted on a new folder; dropping it takes it away.
pub(crate) struct Bpffs(pub(crate) PathBuf);

impl Bpffs {
    pub(crate) fn mount() -> Self {
        let path = tempfile::tempdir().unwrap().keep();
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&path).status().unwrap();
        assert!(mounted.success());
        Self(path)
    }

    /// A folder in it, not made yet.
    pub(crate) fn folder(&self) -> PathBuf {
        self.0.join("set")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // What is pinned in it goes with it.
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}
