//! Locates the repository and its build output.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The repository and its target directory, as absolute paths.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// Cargo's target directory: `CARGO_TARGET_DIR`, else `target` in the root.
    pub target: PathBuf,
}

impl Tree {
    /// Finds the repository of this program.
    ///
    /// # Errors
    /// When the current directory or the workspace root cannot be determined.
    pub fn find() -> Result<Self> {
        // `cargo run` and `cargo test` set a package's folder. Without it, use the folder where this program was
        // compiled.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("a package's manifest has no parent folder")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(named) if !named.is_empty() => {
                env::current_dir().context("the current directory is gone")?.join(named)
            }
            _ => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The path of the release binary `name`.
    #[must_use]
    pub fn release_binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// The kernel object that the probe embeds.
    #[must_use]
    pub fn kernel_object(&self) -> PathBuf {
        self.target.join("bpf").join("probe-ebpf")
    }

    /// The installation folder of a tool in this version.
    #[must_use]
    pub fn tool(&self, package: &str, version: &str) -> PathBuf {
        self.target.join("tools").join(format!("{package}-{version}"))
    }

    /// `path` as a user would type it, relative to the current directory or the root if possible.
    #[must_use]
    pub fn shown(&self, path: &Path) -> String {
        let here = env::current_dir().unwrap_or_else(|_| self.root.clone());
        path.strip_prefix(here)
            .or_else(|_| path.strip_prefix(&self.root))
            .unwrap_or(path)
            .display()
            .to_string()
    }
}
