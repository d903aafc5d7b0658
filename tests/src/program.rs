//! Shared functions of this package's programs: exit codes and file output.

use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, ExitCode};

/// The exit code of the program `name`: 0 on success, 1 otherwise. Prints an error in one line.
pub fn end(name: &str, outcome: Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a suite for a test: prints its table, and asserts that every line passes.
///
/// # Panics
/// When the suite does not start, or a line does not pass.
pub fn assert_passes(suite: &mut Command) {
    let suite = suite.output().expect("the suite is built with this test");
    let table = String::from_utf8_lossy(&suite.stdout);
    println!("{table}");
    assert!(suite.status.success(), "{table}\n{}", String::from_utf8_lossy(&suite.stderr));
}

/// Writes a file.
///
/// # Errors
/// When the file cannot be written. The error has its path.
pub fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
