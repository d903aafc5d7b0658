//! Shared functions of this package's programs: exit codes and file output.

use anyhow::{Context, Result};
use std::path::Path;
use std::process::ExitCode;

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

/// Writes a file.
///
/// # Errors
/// When the file cannot be written. The error has its path.
pub fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
