//! A private bpffs, so that no pinned map remains after the suite.

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::path::PathBuf;

/// A mounted bpffs. Dropping it unmounts it.
#[derive(Debug)]
pub(crate) struct Bpffs(PathBuf);

impl Bpffs {
    /// Mounts a bpffs. Requires `CAP_SYS_ADMIN`.
    pub(crate) fn mount() -> Result<Self> {
        let path = tempfile::Builder::new()
            .prefix("bpffs-")
            .tempdir()
            .context("cannot create a temporary folder")?
            .keep();
        let mounted = mount("bpf", &path, "bpf", MountFlags::empty(), None);
        if let Err(error) = mounted {
            std::fs::remove_dir(&path)?;
            return Err(error).context("cannot mount a bpffs");
        }
        Ok(Self(path))
    }

    /// Returns the path of a folder in it that does not exist yet.
    pub(crate) fn folder(&self) -> PathBuf {
        self.0.join("set")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&self.0);
    }
}
