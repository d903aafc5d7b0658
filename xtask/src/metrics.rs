//! `cargo xtask metrics`: every metric of the services, as docs/metrics.md has it.

use anyhow::Result;

use crate::packages::Part;
use crate::process::{self, cargo};
use crate::setup;
use crate::tree::Tree;

/// Prints the text, or writes the file.
///
/// # Errors
/// When the program that knows cannot be built.
pub(crate) fn run(tree: &Tree, write: bool) -> Result<()> {
    setup::ensure(&[Part::Build])?;
    let mut command = cargo(tree);
    command.args(["run", "--quiet", "-p", "lab-tests", "--bin", "metrics", "--", "--root"]).arg(&tree.root);
    if write {
        command.arg("--write");
    }
    process::run(&mut command, "cargo run")
}
