//! `cargo xtask load ARGS…`: the load generator, built for speed, with the arguments as they stand.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::packages::Part;
use crate::process;
use crate::setup;
use crate::tree::Tree;

/// Builds and runs `load`; gives its exit code.
///
/// # Errors
/// When it cannot be built or started.
pub(crate) fn run(tree: &Tree, arguments: &[OsString]) -> Result<ExitCode> {
    setup::ensure(&[Part::Build])?;
    process::build_release(tree, &[("load", "load")])?;
    process::exit_code(Command::new(tree.release_binary("load")).args(arguments))
}
