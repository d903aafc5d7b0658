//! The temporary folder of one run.
//!
//! It holds overrides, logs, a socket, and the images unless `--keep` is given.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// The folder, with mode 0700 and an unguessable name. It is removed on drop.
#[derive(Debug)]
pub(crate) struct Work {
    folder: TempDir,
}

impl Work {
    /// Creates the folder in the system's temporary folder. A socket path is limited to 107 bytes, and the target
    /// directory's path may already be longer.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hot-partition-lab-").tempdir();
        Ok(Self { folder: folder.context("cannot make a temporary folder")? })
    }

    /// The path of `name` in this folder.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `text` to `name` in this folder and returns the path. Creates parent folders.
    ///
    /// # Errors
    /// When the file cannot be written. The error has its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.join(name);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}
