//! Finds k6 and runs the scripts of `k6/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs;
use crate::tree::Tree;

/// The tested version of the Python package.
pub const VERSION: &str = "1.1.0";

/// The k6 that `cargo xtask` installs.
#[must_use]
pub fn installed(tree: &Tree) -> Option<PathBuf> {
    Some(tree.tool("k6", VERSION).join("bin/k6")).filter(|program| programs::is_program(program))
}

/// The k6 that `cargo xtask` installed, or the first executable in `PATH`.
#[must_use]
pub fn find(tree: &Tree) -> Option<PathBuf> {
    installed(tree).or_else(|| programs::find_executable("k6").ok())
}

/// The path of a script in `k6/`, by its name without `.js`.
#[must_use]
pub fn script(tree: &Tree, name: &str) -> PathBuf {
    tree.root.join("k6").join(format!("{name}.js"))
}

/// A command that runs a script without a usage report to k6's makers.
#[must_use]
pub fn run(k6: &Path, script: &Path) -> Command {
    let mut command = Command::new(k6);
    command.args(["run", "--no-usage-report"]).arg(script);
    command
}
