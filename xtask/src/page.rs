//! `cargo xtask page-test`: the live page in headless Chromium, with the tools that takes.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::outcome::Outcome;
use crate::packages::Part;
use crate::process::{self, find_program};
use crate::tree::Tree;
use crate::{setup, signals, test};

/// The version of `playwright-core` that the scripts are tested with. It brings no browser and nothing else.
const VERSION: &str = "1.56.1";

/// Installs what is missing and runs the tests. Pictures go to `target/page/`.
///
/// # Errors
/// When a tool cannot be had, or something does not build.
pub(crate) fn run(tree: &Tree) -> Result<Outcome> {
    setup::ensure(&[Part::Build, Part::Page])?;
    install(tree)?;
    let holds = test::run_only(tree, &["-p", "lab-tests", "--test", "page"], &[("LAB_PAGE_TEST", "1")])?;
    println!("Pictures: {}/", tree.shown(&tree.target.join("page")));
    Ok(holds)
}

/// The same for `cargo xtask test`, which installs no browser: only where node and Chromium are there already. What is
/// missing the tests say themselves.
///
/// # Errors
/// Only when a signal interrupts it.
pub(crate) fn ensure_if_at_hand(tree: &Tree) -> Result<()> {
    if ["node", "npm", "chromium"].into_iter().any(|tool| find_program(tool).is_none()) {
        return Ok(());
    }
    if let Err(error) = install(tree) {
        signals::check()?;
        println!("  {error:#}\n  The tests of the live page will say so.");
    }
    Ok(())
}

/// Puts Playwright where the tests look for it.
fn install(tree: &Tree) -> Result<PathBuf> {
    let folder = tree.target.join("tools").join(format!("playwright-core-{VERSION}"));
    let installed = folder.join("node_modules/playwright-core/index.mjs");
    if installed.is_file() {
        return Ok(installed);
    }
    println!("  installing playwright-core {VERSION} into {}", tree.shown(&folder));
    let npm = find_program("npm").context("playwright-core comes as an npm package, and there is no npm")?;
    let mut command = Command::new(npm);
    command.args(["install", "--silent", "--no-package-lock", "--no-audit", "--no-fund", "--prefix"]);
    command.arg(&folder).arg(format!("playwright-core@{VERSION}"));
    process::run(&mut command, "npm install").context("playwright-core cannot be installed")?;
    if installed.is_file() { Ok(installed) } else { bail!("npm brought no playwright-core") }
}
