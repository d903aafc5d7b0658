//! `cargo xtask bench …`: builds what a measurement needs, optimised, and runs it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::packages::Part;
use crate::process::{self, cargo};
use crate::tree::Tree;
use crate::{build_ebpf, setup, suite};

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// A long day's connections in minutes: opened and closed under a probe that must count them all and not grow
    Churn {
        /// How many connections to open and close
        #[arg(long, value_name = "N", default_value_t = 1_000_000)]
        connections: u64,
        /// Write all figures as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Ways to count keys in the kernel, side by side: what each finds of a million keys, how right its counts are, its cost
    Keys {
        /// Draws a stream
        #[arg(long, value_name = "N", default_value_t = 5_000_000)]
        draws: u64,
        /// Write the tables as Markdown
        #[arg(long, value_name = "FILE")]
        markdown: Option<PathBuf>,
    },
    /// Counting, windows, verdict and what-if: the sketches side by side, and what each part costs
    Hotspot,
}

/// Builds and runs it; gives its exit code.
///
/// # Errors
/// When something cannot be built, or there is no way to become root.
pub(crate) fn run(tree: &Tree, bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Churn { connections, json } => churn(tree, *connections, json.as_deref()),
        Bench::Keys { draws, markdown } => keys(tree, *draws, markdown.as_deref()),
        Bench::Hotspot => {
            process::run(
                cargo(tree)
                    .args(["bench", "--quiet", "-p", "hotspot", "--bench", "cost", "--bench", "sketch"]),
                "cargo bench",
            )?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn churn(tree: &Tree, connections: u64, json: Option<&Path>) -> Result<ExitCode> {
    setup::ensure(&[Part::Build, Part::Kernel])?;
    build_ebpf::run(tree)?;
    let mut build = cargo(tree);
    build.args(["build", "--quiet", "--release", "-p", "probe", "-p", "lab-tests", "--bin", "probe"]);
    process::run(build.args(["--bin", "churn"]), "cargo build")?;
    let mut churn = suite::as_root(tree, "churn", "loads the probe's programs")?;
    churn.args(["--connections", &connections.to_string()]);
    if let Some(file) = json {
        churn.arg("--json").arg(file);
    }
    suite::run(&mut churn)
}

fn keys(tree: &Tree, draws: u64, markdown: Option<&Path>) -> Result<ExitCode> {
    setup::ensure(&[Part::Build, Part::Kernel])?;
    let object = build_ebpf::candidates(tree)?;
    let mut build = cargo(tree);
    build.args(["build", "--quiet", "--release", "-p", "lab-tests", "--bin", "key_candidates"]);
    process::run(&mut build, "cargo build")?;
    let mut keys = suite::as_root(tree, "key_candidates", "loads kernel programs")?;
    keys.arg("--object").arg(object).args(["--draws", &draws.to_string()]);
    if let Some(file) = markdown {
        keys.arg("--markdown").arg(file);
    }
    suite::run(&mut keys)
}
