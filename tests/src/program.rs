//! What the programs of this package have in common: how they end, and how they write a file.

use anyhow::{Context, Result};
use std::path::Path;
use std::process::ExitCode;

/// The exit code of the program `name`: 0 if all holds, 1 if not; an error is said in one line.
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
/// Names the file that cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
