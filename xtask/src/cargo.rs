//! Creates cargo commands with a clean environment and shared target directory.

use std::env;
use std::ffi::OsStr;
use std::process::Command;

use anyhow::Result;
use lab::tree::Tree;

use crate::step::Step;

/// Variables that `cargo run` sets for xtask. They would mislead a cargo process started by xtask.
const SET_BY_CARGO_RUN: [&str; 6] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_CRATE_NAME",
    "CARGO_BIN_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_MANIFEST_LINKS",
];

/// A cargo command for the host crates. It runs in the workspace root and uses its target directory.
pub(crate) fn cargo(tree: &Tree) -> Command {
    cargo_program(tree, &env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Like [`cargo`], but runs the cargo at `program`.
pub(crate) fn cargo_program(tree: &Tree, program: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.current_dir(&tree.root).env("CARGO_TARGET_DIR", &tree.target);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || SET_BY_CARGO_RUN.contains(&text.as_ref()) {
            command.env_remove(name);
        }
    }
    command
}

/// Builds `programs` in release mode. Each entry is a package and a binary.
///
/// # Errors
/// When the build fails.
pub(crate) fn build_release(tree: &Tree, programs: &[(&str, &str)]) -> Result<()> {
    build(tree, "release", programs)
}

/// Builds `programs` with a profile. Each entry is a package and a binary.
///
/// # Errors
/// When the build fails.
pub(crate) fn build(tree: &Tree, profile: &str, programs: &[(&str, &str)]) -> Result<()> {
    let mut build = cargo(tree);
    build.args(["build", "--profile", profile]);
    for (package, program) in programs {
        build.args(["-p", package, "--bin", program]);
    }
    let names: Vec<&str> = programs.iter().map(|(_, program)| *program).collect();
    Step::new(&format!("compiling {}", names.join(", ")), 200).run(tree, &mut build)
}
