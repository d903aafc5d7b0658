//! `cargo xtask metrics`: generates docs/metrics.md from the code.

use anyhow::Result;

use crate::cargo::cargo;
use crate::needs;
use crate::packages::Part;
use lab::command;
use lab::tree::Tree;

/// Prints the page, or writes the file.
///
/// # Errors
/// When the program that lists the metrics cannot be built.
pub(crate) fn run(tree: &Tree, write: bool) -> Result<()> {
    needs::ensure(tree, &[Part::Build])?;
    let mut command = cargo(tree);
    command.args(["run", "--quiet", "-p", "lab-tests", "--bin", "metrics", "--", "--root"]).arg(&tree.root);
    if write {
        command.arg("--write");
    }
    command::run(&mut command, "cargo run")
}
