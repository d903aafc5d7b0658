//! `cargo xtask accuracy`: builds the probe with its kernel object and the accuracy suite, and runs the suite.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::cargo;
use crate::packages::Part;
use crate::{build_ebpf, needs, suite};
use lab::command;
use lab::tree::Tree;

/// What is handed on to the suite.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// Smaller numbers: over within 40 s
    #[arg(long)]
    quick: bool,
    /// Run only the rows whose name contains this
    #[arg(long, value_name = "NAME")]
    row: Option<String>,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the table as Markdown, as docs/experiments/ keeps it
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Builds and runs the suite; gives its exit code.
///
/// # Errors
/// When something cannot be built, or there is no way to become root.
pub(crate) fn run(tree: &Tree, request: &Request) -> Result<ExitCode> {
    needs::ensure(tree, &[Part::Build, Part::Kernel, Part::Tests])?;
    build_ebpf::run(tree)?;
    cargo::build_release(tree, &[("probe", "probe"), ("measure", "accuracy")])?;
    let mut accuracy = suite::as_root(tree, "accuracy", "makes network namespaces")?;
    command::exit_code(accuracy.args(arguments(request)))
}

fn arguments(request: &Request) -> Vec<std::ffi::OsString> {
    let mut arguments = Vec::new();
    if request.quick {
        arguments.push("--quick".into());
    }
    if let Some(row) = &request.row {
        arguments.extend(["--row".into(), row.into()]);
    }
    for (option, file) in [("--json", &request.json), ("--markdown", &request.markdown)] {
        if let Some(file) = file {
            arguments.extend([option.into(), file.into()]);
        }
    }
    arguments
}
