//! `cargo xtask page-test`: tests the live page in headless Chromium.

use std::fs;

use anyhow::{Context as _, Result};
use lab::tree::Tree;

use crate::outcome::CheckOutcome;
use crate::packages::Part;
use crate::{browser, needs, test};

const TESTS: [&str; 4] = ["-p", "lab-tests", "--test", "page"];

/// The README's pictures of the page under celebrity load.
const PICTURES: [&str; 2] = ["live-page-dark.png", "live-page-light.png"];

/// Installs what is missing and runs the tests. Screenshots go to `target/page/`.
///
/// # Errors
/// When a tool cannot be installed, or something does not build.
pub(crate) fn run(tree: &Tree) -> Result<CheckOutcome> {
    prepare(tree)?;
    let holds = test::run_only(tree, &TESTS, &[("LAB_PAGE_TEST", "1")])?;
    println!("Pictures: {}/", tree.shown(&tree.target.join("page")));
    Ok(holds)
}

/// Creates the README's pictures and copies them to `docs/pictures/`.
///
/// # Errors
/// When a tool cannot be installed, something does not build, or a picture is missing.
pub(crate) fn pictures(tree: &Tree) -> Result<CheckOutcome> {
    prepare(tree)?;
    let settings = [("LAB_PAGE_TEST", "1"), ("LAB_PAGE_PICTURES", "1")];
    let holds = test::run_only(tree, &[&TESTS[..], &["the_readmes_pictures"]].concat(), &settings)?;
    for name in PICTURES {
        let to = tree.root.join("docs/pictures").join(name);
        fs::copy(tree.target.join("page").join(name), &to).with_context(|| format!("no picture {name}"))?;
        println!("Picture: {}", tree.shown(&to));
    }
    Ok(holds)
}

fn prepare(tree: &Tree) -> Result<()> {
    needs::ensure(tree, &[Part::Build, Part::Page])?;
    browser::install(tree)?;
    Ok(())
}
