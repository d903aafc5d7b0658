//! `cargo xtask experiment`: builds the lab and its experiments, optimised, and runs them.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::cargo;
use crate::packages::Part;
use crate::{build_ebpf, needs, suite};
use lab::command;
use lab::tree::Tree;

/// What is handed on to the experiments.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// Which; `all` for every one
    #[arg(required_unless_present = "list", value_name = "NAME")]
    names: Vec<String>,
    /// Say which there are
    #[arg(long)]
    list: bool,
    /// Runs of each arm: at least 5, with --quick at least 1; the least is the default
    #[arg(long, value_name = "N")]
    repetitions: Option<u32>,
    /// Determines keys and orders
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Small runs, over in seconds: the same refusals, but figures may be three points off where one is allowed
    #[arg(long)]
    quick: bool,
    /// Write the results into docs/experiments/
    #[arg(long)]
    write: bool,
}

/// Builds and runs them; gives their exit code.
///
/// # Errors
/// When something cannot be built, or there is no way to become root.
pub(crate) fn run(tree: &Tree, request: &Request) -> Result<ExitCode> {
    needs::ensure(tree, &[Part::Build, Part::Kernel])?;
    build_ebpf::run(tree)?;
    let programs = [
        ("gateway", "gateway"),
        ("shard", "shard"),
        ("probe", "probe"),
        ("load", "load"),
        ("measure", "experiment"),
    ];
    cargo::build_release(tree, &programs)?;
    let mut experiment = suite::as_root(tree, "experiment", "loads the probe's programs")?;
    if request.list {
        return command::exit_code(experiment.arg("--list"));
    }
    experiment.args(&request.names);
    experiment.args(["--seed", &request.seed.to_string()]);
    if let Some(repetitions) = request.repetitions {
        experiment.args(["--repetitions", &repetitions.to_string()]);
    }
    if request.quick {
        experiment.arg("--quick");
    }
    if request.write {
        experiment.arg("--write").arg(tree.root.join("docs/experiments"));
    }
    command::exit_code(&mut experiment)
}
