//! `cargo xtask dashboards`: whether the dashboards are what grafana/source gives, or writes them.

use std::process::Command;

use anyhow::{Result, bail};

use lab::tree::Tree;
use lab::{command, programs};

/// Checks the dashboards, or writes them.
///
/// # Errors
/// When there is no Node, a package cannot be had, or the dashboards are out of date.
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

/// Whether the tools are here.
pub(crate) fn possible() -> bool {
    ["node", "npm"].iter().all(|program| programs::find(program).is_some())
}
