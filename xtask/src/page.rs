//! `cargo xtask page-test`: the live page in headless Chromium, with the tools that takes.

use anyhow::Result;
use lab::tree::Tree;

use crate::outcome::CheckOutcome;
use crate::packages::Part;
use crate::{browser, needs, test};

/// Installs what is missing and runs the tests. Pictures go to `target/page/`.
///
/// # Errors
/// When a tool cannot be had, or something does not build.
pub(crate) fn run(tree: &Tree) -> Result<CheckOutcome> {
    needs::ensure(tree, &[Part::Build, Part::Page])?;
    browser::install(tree)?;
    let holds = test::run_only(tree, &["-p", "lab-tests", "--test", "page"], &[("LAB_PAGE_TEST", "1")])?;
    println!("Pictures: {}/", tree.shown(&tree.target.join("page")));
    Ok(holds)
}
