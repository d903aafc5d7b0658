//! Provides a bpffs for one test.

use std::path::PathBuf;
use std::process::Command;

/// A bpffs mounted on a new folder. Dropping it unmounts it and removes the folder.
pub(crate) struct Bpffs(pub(crate) PathBuf);

impl Bpffs {
    pub(crate) fn mount() -> Self {
        let path = tempfile::Builder::new().prefix("bpffs-").tempdir().unwrap().keep();
        let mounted = Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&path).status().unwrap();
        assert!(mounted.success());
        Self(path)
    }

    /// The path of a folder in it that does not exist yet.
    pub(crate) fn folder(&self) -> PathBuf {
        self.0.join("set")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // Unmounting also removes the pins.
        let _ = Command::new("umount").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}
