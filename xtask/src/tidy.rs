//! `cargo xtask tidy`: the house rules that no compiler checks.

mod dependencies;
mod text;

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, cargo};
use crate::tree::Tree;

/// Checks all rules over everything git tracks.
///
/// # Errors
/// Listing every breach, each with the file and what is allowed.
pub(crate) fn run(tree: &Tree) -> Result<()> {
    let mut problems = Vec::new();
    let metadata =
        process::capture(cargo(tree).args(["metadata", "--format-version", "1", "--no-deps", "--quiet"]))?;
    problems.extend(dependencies::problems(&metadata)?);
    let listed = process::capture(Command::new("git").args(["ls-files", "-z"]).current_dir(&tree.root))?;
    let mut files = 0;
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let path = tree.root.join(name);
        // A file that is deleted but not committed yet, or a link to nowhere, has no text to check.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(content) = String::from_utf8(bytes) else { continue };
        files += 1;
        problems.extend(text::problems(name, &content));
    }
    if files == 0 {
        return Err(anyhow::anyhow!("no files")).context("git tracks nothing here");
    }
    if problems.is_empty() {
        println!("House rules hold in {files} files.");
        return Ok(());
    }
    for problem in &problems {
        println!("  {problem}");
    }
    bail!("{} breaches of the house rules", problems.len())
}
