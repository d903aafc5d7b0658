//! Playwright, which drives a browser for the tests of the live page.

use std::path::PathBuf;

use crate::tree::Tree;

/// The package; it brings no browser and nothing else.
pub const PACKAGE: &str = "playwright-core";
/// The version that the scripts are tested with.
pub const VERSION: &str = "1.56.1";

/// The file that scripts import, where it is installed.
#[must_use]
pub fn module(tree: &Tree) -> PathBuf {
    tree.tool(PACKAGE, VERSION).join("node_modules").join(PACKAGE).join("index.mjs")
}
