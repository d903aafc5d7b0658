//! `cargo xtask load ARGS…`: the load generator, built for speed, with the arguments as they stand.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::packages::Part;
use crate::process::{self, cargo};
use crate::setup;
use crate::tree::Tree;

/// Builds and runs `load`; gives its exit code.
///
/// # Errors
/// When it cannot be built or started.
pub(crate) fn run(tree: &Tree, arguments: &[OsString]) -> Result<ExitCode> {
    setup::ensure(&[Part::Build])?;
    let mut build = cargo(tree);
    process::run(build.args(["build", "--quiet", "--release", "-p", "load"]), "cargo build")?;
    let status = process::status(Command::new(tree.release_binary("load")).args(arguments))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
