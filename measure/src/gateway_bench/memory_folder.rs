//! A folder in memory for nginx's cache.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A tmpfs of its own, unmounted on drop.
pub(super) struct MemoryFolder(PathBuf);

impl MemoryFolder {
    /// Mounts one at `path`, with room for `bytes`.
    ///
    /// # Errors
    /// When this process may not mount.
    pub(super) fn mount(path: PathBuf, bytes: u64) -> Result<Self> {
        fs::create_dir(&path)?;
        // One inode for each key, and the folders.
        let options = std::ffi::CString::new(format!("size={bytes},nr_inodes=1100000,mode=755"))?;
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))
            .with_context(|| format!("nginx's cache needs a tmpfs at {}, as root", path.display()))?;
        Ok(Self(path))
    }

    /// Returns the bytes in use.
    pub(super) fn used(&self) -> u64 {
        rustix::fs::statvfs(&self.0).map_or(0, |of| (of.f_blocks - of.f_bfree) * of.f_frsize)
    }
}

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        // It stays at worst until the end of this machine's run.
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}
