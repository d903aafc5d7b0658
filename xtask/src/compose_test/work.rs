//! The folder of one run: overrides, logs, a socket, and the images where they are not kept. Removed at the end.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// The folder, of mode 0700 and with an unguessable name; removed when dropped.
#[derive(Debug)]
pub(crate) struct Work {
    folder: TempDir,
}

impl Work {
    /// Makes it, in the system's folder for temporary files: a socket's path has 107 bytes, which a target directory may
    /// already need.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hot-partition-lab-").tempdir();
        Ok(Self { folder: folder.context("cannot make a temporary folder")? })
    }

    /// The path of `name` in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `text` to `name` in it, with the folders on its way; returns the path.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.join(name);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}
