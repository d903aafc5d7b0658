//! `cargo xtask bench …`: builds what a measurement needs, optimised, and runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::cargo;
use crate::cargo::cargo;
use crate::packages::Part;
use crate::{build_ebpf, k6, needs, suite};
use lab::command;
use lab::tree::Tree;

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
    /// What the probe costs: ns by program, packet and request; throughput with and without it, beside other tools
    Cost(Cost),
    /// What tracing costs: the gateway's throughput with it off, at 1 % and at 100 %, in alternating pairs
    Traces(Pairs),
    /// What the detector costs: the gateway's throughput without it and with every request counted, in alternating pairs
    Detector(Pairs),
    /// Counting, windows, verdict and what-if: the sketches side by side, and what each part costs
    Hotspot,
}

/// How long a part of the gateway is measured.
#[derive(Debug, Args)]
pub(crate) struct Pairs {
    /// Pairs of labs for each row
    #[arg(long, value_name = "N", default_value_t = 12)]
    pairs: u32,
    /// Requests of each lab in a pair, in four slices
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(4_000..))]
    requests: u64,
}

/// What is handed on to the measurement of the probe's cost.
#[derive(Debug, Args)]
pub(crate) struct Cost {
    /// Pairs, with and without, for each tool
    #[arg(long, value_name = "N", default_value_t = 10)]
    pairs: u32,
    /// Requests with each tool and as many without, in each pair
    #[arg(long, value_name = "N", default_value_t = 400_000)]
    requests: u64,
    /// Determines the order of runs
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write all figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the whole experiment as Markdown, as docs/experiments/ keeps it
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

/// Builds and runs it; gives its exit code.
///
/// # Errors
/// When something cannot be built, or there is no way to become root.
pub(crate) fn run(tree: &Tree, bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::Churn { connections, json } => churn(tree, *connections, json.as_deref()),
        Bench::Cost(request) => cost(tree, request),
        Bench::Traces(pairs) => part(tree, "traces", pairs),
        Bench::Detector(pairs) => part(tree, "detector", pairs),
        Bench::Hotspot => {
            command::run(
                cargo(tree)
                    .args(["bench", "--quiet", "-p", "hotspot", "--bench", "cost", "--bench", "sketch"]),
                "cargo bench",
            )?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn churn(tree: &Tree, connections: u64, json: Option<&Path>) -> Result<ExitCode> {
    needs::ensure(tree, &[Part::Build, Part::Kernel])?;
    build_ebpf::run(tree)?;
    cargo::build_release(tree, &[("probe", "probe"), ("measure", "churn")])?;
    let mut churn = suite::as_root(tree, "churn", "loads the probe's programs")?;
    churn.args(["--connections", &connections.to_string()]);
    if let Some(file) = json {
        churn.arg("--json").arg(file);
    }
    command::exit_code(&mut churn)
}

fn cost(tree: &Tree, request: &Cost) -> Result<ExitCode> {
    needs::ensure(tree, &[Part::Build, Part::Kernel, Part::Tests, Part::Peers, Part::LoadTool])?;
    let k6 = k6::ensure_if_possible(tree)?;
    build_ebpf::run(tree)?;
    let programs = [
        ("probe", "probe"),
        ("shard", "shard"),
        ("gateway", "gateway"),
        ("load", "load"),
        ("measure", "cost"),
    ];
    cargo::build_release(tree, &programs)?;
    let mut cost = suite::as_root(tree, "cost", "loads the probe's programs")?;
    if let Some(k6) = k6 {
        cost.arg("--k6").arg(k6);
    }
    for (option, number) in
        [("--pairs", u64::from(request.pairs)), ("--requests", request.requests), ("--seed", request.seed)]
    {
        cost.arg(option).arg(number.to_string());
    }
    for (option, file) in [("--json", &request.json), ("--markdown", &request.markdown)] {
        if let Some(file) = file {
            cost.arg(option).arg(file);
        }
    }
    command::exit_code(&mut cost)
}

/// What a part of the gateway costs.
fn part(tree: &Tree, name: &str, Pairs { pairs, requests }: &Pairs) -> Result<ExitCode> {
    needs::ensure(tree, &[Part::Build])?;
    let programs =
        [("gateway", "gateway"), ("shard", "shard"), ("load", "load"), ("measure", "gateway_cost")];
    cargo::build_release(tree, &programs)?;
    let mut cost = Command::new(tree.release_binary("gateway_cost"));
    command::exit_code(cost.args([name, "--pairs", &pairs.to_string(), "--requests", &requests.to_string()]))
}
