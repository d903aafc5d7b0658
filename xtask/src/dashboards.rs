//! `cargo xtask dashboards`: compares the dashboards with grafana/source, or writes them.

use std::process::Command;

use anyhow::{Result, bail};

use lab::tree::Tree;
use lab::{command, programs};

/// Checks the dashboards. Writes them instead if `write` is set.
///
/// # Errors
/// When Node is missing, a package cannot be installed, or the dashboards are out of date.
pub(crate) fn run(tree: &Tree, write: bool) -> Result<()> {
    if !possible() {
        bail!(
            "needs Node 18 or newer and npm; on Debian: apt-get install --no-install-recommends nodejs npm"
        );
    }
    let source = tree.root.join("grafana/source");
    command::run(Command::new("npm").args(["ci", "--silent"]).current_dir(&source), "npm ci")?;
    let script = if write { "build" } else { "check" };
    command::run(Command::new("npm").args(["run", "--silent", script]).current_dir(&source), "npm run")
}

/// Whether the required tools are installed.
pub(crate) fn possible() -> bool {
    ["node", "npm"].iter().all(|program| programs::find(program).is_some())
}
