//! A bpffs of the suite's own, so that nothing stays pinned: it goes with what is pinned in it.

use anyhow::{Context, Result};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A mounted bpffs; dropping it takes it away.
#[derive(Debug)]
pub struct Bpffs(PathBuf);

impl Bpffs {
    /// Mounts one on a new folder among the temporary ones.
    ///
    /// # Errors
    /// Without the privilege for it (`CAP_SYS_ADMIN`).
    pub fn mount() -> Result<Self> {
        let path = tempfile::tempdir().context("no temporary folder can be made")?.keep();
        let target = c_path(&path)?;
        let kind = c"bpf".as_ptr();
        #[expect(unsafe_code, reason = "the standard library mounts nothing")]
        // SAFETY: three texts that end with a zero, and no data.
        let failed = unsafe { libc::mount(kind, target.as_ptr(), kind, 0, std::ptr::null()) };
        if failed != 0 {
            let error = std::io::Error::last_os_error();
            std::fs::remove_dir(&path)?;
            return Err(error).context("no bpffs can be mounted");
        }
        Ok(Self(path))
    }

    /// A folder in it, not made yet.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.0.join("set")
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let Ok(target) = c_path(&self.0) else { return };
        #[expect(unsafe_code, reason = "the standard library unmounts nothing")]
        // SAFETY: a text that ends with a zero.
        let _ = unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}
