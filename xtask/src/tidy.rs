//! `cargo xtask tidy`: checks the house rules that no compiler checks.

mod cycles;
mod dependencies;
mod links;
mod markdown;
mod prose;
mod text;

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cargo::cargo;
use lab::command;
use lab::tree::Tree;

/// Checks all rules on all files that git tracks.
///
/// # Errors
/// When a rule is broken. The error lists every violation with its file and the allowed alternative.
pub(crate) fn run(tree: &Tree) -> Result<()> {
    let mut problems = Vec::new();
    let metadata =
        command::capture(cargo(tree).args(["metadata", "--format-version", "1", "--no-deps", "--quiet"]))?;
    problems.extend(dependencies::problems(&metadata)?);
    let listed = command::capture(Command::new("git").args(["ls-files", "-z"]).current_dir(&tree.root))?;
    let mut files = Vec::new();
    for name in listed.split('\0').filter(|name| !name.is_empty()) {
        let path = tree.root.join(name);
        // A deleted file or a dangling link has no text to check.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(content) = String::from_utf8(bytes) else { continue };
        problems.extend(text::problems(name, &content));
        problems.extend(prose::problems(name, &content));
        files.push((name.to_owned(), content));
    }
    problems.extend(cycles::problems(&files));
    problems.extend(links::problems(&files, |name| tree.root.join(name).exists()));
    if files.is_empty() {
        return Err(anyhow::anyhow!("no files")).context("git tracks nothing here");
    }
    if problems.is_empty() {
        println!("{} files follow the house rules.", files.len());
        return Ok(());
    }
    for problem in &problems {
        println!("  {problem}");
    }
    bail!("{} violations of the house rules", problems.len())
}
