//! `cargo xtask load ARGS…`: builds and runs the load generator.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::cargo;
use crate::needs;
use crate::packages::Part;
use lab::command;
use lab::tree::Tree;

/// Builds and runs `load` with unchanged `arguments`. Returns its exit code.
///
/// # Errors
/// When the generator cannot be built or started.
pub(crate) fn run(tree: &Tree, arguments: &[OsString]) -> Result<ExitCode> {
    needs::ensure(tree, &[Part::Build])?;
    cargo::build_release(tree, &[("load", "load")])?;
    command::exit_code(Command::new(tree.release_binary("load")).args(arguments))
}
