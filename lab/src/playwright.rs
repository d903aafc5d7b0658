//! Locates Playwright, which drives a browser in the live page's tests.

use std::path::PathBuf;

use crate::tree::Tree;

/// The npm package. It has no dependencies and does not download a browser.
pub const PACKAGE: &str = "playwright-core";
/// The tested version.
pub const VERSION: &str = "1.56.1";

/// The path of the installed file that the scripts import.
#[must_use]
pub fn module(tree: &Tree) -> PathBuf {
    tree.tool(PACKAGE, VERSION).join("node_modules").join(PACKAGE).join("index.mjs")
}
