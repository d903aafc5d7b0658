//! Installs Playwright, which drives the browser in the live page's tests.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use lab::playwright::{PACKAGE, VERSION, module};
use lab::tree::Tree;
use lab::{programs, signals};

use crate::step::Step;

/// Installs Playwright for `cargo xtask test` if node, npm and Chromium are installed.
///
/// This command never installs a browser. The tests report missing programs.
///
/// # Errors
/// Only when a signal interrupts it.
pub(crate) fn ensure_if_at_hand(tree: &Tree) -> Result<()> {
    if ["node", "npm", "chromium"].into_iter().any(|tool| programs::find(tool).is_none()) {
        return Ok(());
    }
    if let Err(error) = install(tree) {
        signals::check()?;
        println!("  {error:#}\n  The tests of the live page will be skipped.");
    }
    Ok(())
}

/// Installs Playwright into the folder where the tests look for it.
///
/// # Errors
/// When npm is missing or cannot install the package.
pub(crate) fn install(tree: &Tree) -> Result<()> {
    if module(tree).is_file() {
        return Ok(());
    }
    let npm = programs::find("npm").context("cannot install playwright-core: npm is not installed")?;
    let mut command = Command::new(npm);
    command.args(["install", "--silent", "--no-package-lock", "--no-audit", "--no-fund", "--prefix"]);
    command.arg(tree.tool(PACKAGE, VERSION)).arg(format!("{PACKAGE}@{VERSION}"));
    Step::new(&format!("installing {PACKAGE} {VERSION}"), 10).run(tree, &mut command)?;
    if module(tree).is_file() { Ok(()) } else { bail!("npm did not install {PACKAGE}") }
}
