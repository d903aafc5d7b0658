//! `cargo xtask accuracy`, `experiment`, `faults`, `soak`, `bench …`: build and run measuring programs.

mod obi;

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use lab::command;
use lab::tree::Tree;

use crate::cargo::{build, cargo};
use crate::packages::{self, Part, Root};
use crate::{build_ebpf, needs, objects, terminal};

/// The folder of the benchmarks' pages.
const FOLDER: &str = "docs/benchmarks";

/// Arguments for a measuring program.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Arguments of the program; `--help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// The available measurements.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Open and close a million connections; the probe must count each one in bounded memory
    #[command(disable_help_flag = true)]
    Churn(Arguments),
    /// Measure the probe: ns per program, packet and request, HTTP and RESP; throughput beside other tools
    #[command(disable_help_flag = true)]
    Cost(Arguments),
    /// Compare kernel objects, by path or commit, in alternating runs: ns of the programs for a request
    #[command(disable_help_flag = true)]
    Objects(Arguments),
    /// Measure tracing: gateway throughput with it off, at 1 % and at 100 %, in alternating pairs
    #[command(disable_help_flag = true)]
    Traces(Arguments),
    /// Measure the detector: gateway throughput without it and with every request counted, in alternating pairs
    #[command(disable_help_flag = true)]
    Detector(Arguments),
    /// Measure the gateway beside nginx, HAProxy and Varnish: requests/s, CPU time, memory, latency
    #[command(disable_help_flag = true)]
    Gateway(Arguments),
    /// Measure the aggregator's CPU time, memory and traffic with up to 1,000 simulated probes
    #[command(disable_help_flag = true)]
    Nodes(Arguments),
    /// Measure the probe beside OpenTelemetry's eBPF instrumentation (OBI): counts, eBPF and CPU time, memory
    Obi(obi::Request),
    /// Compare the counts of `probe watch` with those of Redis, row by row; `--full` runs all rows
    #[command(disable_help_flag = true)]
    Stores(Arguments),
    /// Measure counting, windows, verdict and what-if: compare the sketches and the cost of each part
    Hotspot,
}

/// A measuring program.
struct Program {
    name: &'static str,
    /// The system packages that it needs besides a compiler.
    parts: &'static [Part],
    /// The lab's programs that it starts.
    lab: &'static [&'static str],
    /// The cargo profile of all of them.
    profile: &'static str,
}

const ACCURACY: Program =
    Program { name: "accuracy", parts: &[Part::Kernel, Part::Tests], lab: &["probe"], profile: "release" };
const EXPERIMENT: Program = Program {
    name: "experiment",
    parts: &[Part::Kernel],
    lab: &["gateway", "shard", "probe", "load"],
    profile: "release",
};
const FAULTS: Program = Program {
    name: "faults",
    parts: &[Part::Kernel, Part::Tests, Part::Faults],
    lab: &["gateway", "shard", "probe", "load"],
    profile: "release",
};
const SOAK: Program = Program {
    name: "soak",
    parts: &[Part::Kernel],
    lab: &["gateway", "shard", "probe", "load"],
    profile: "release",
};
const CHURN: Program = Program { name: "churn", parts: &[Part::Kernel], lab: &["probe"], profile: "release" };
const COST: Program = Program {
    name: "cost",
    parts: &[Part::Kernel, Part::Tests, Part::Peers],
    lab: &["probe", "shard", "gateway", "load"],
    profile: "release",
};
const OBJECTS: Program =
    Program { name: "objects", parts: &[Part::Kernel], lab: &["shard"], profile: "release" };
const NODES: Program = Program { name: "nodes", parts: &[], lab: &["probe"], profile: "release" };
const STORES: Program = Program {
    name: "stores",
    parts: &[Part::Kernel, Part::Tests, Part::Peers],
    lab: &["probe"],
    profile: "release",
};
const OBI: Program =
    Program { name: "obi", parts: &[Part::Kernel], lab: &["shard", "gateway", "probe"], profile: "release" };
const GATEWAY_COST: Program =
    Program { name: "gateway_cost", parts: &[], lab: &["gateway", "shard", "load"], profile: "release" };
/// What is measured here is what is shipped.
const GATEWAY_BENCH: Program = Program {
    name: "gateway_bench",
    parts: &[Part::GatewayPeers],
    lab: &["gateway", "shard"],
    profile: "dist",
};

/// The same with a probe beside it.
const GATEWAY_GROWTH: Program = Program {
    parts: &[Part::Kernel, Part::GatewayPeers],
    lab: &["gateway", "shard", "probe"],
    ..GATEWAY_BENCH
};

/// Runs the accuracy suite and returns its exit code.
///
/// # Errors
/// When something cannot be built, or root access is not available.
pub(crate) fn accuracy(tree: &Tree, given: &Arguments) -> Result<ExitCode> {
    run(tree, &ACCURACY, given.arguments.clone())
}

/// Runs experiments; `--write` writes into `docs/experiments/`.
///
/// # Errors
/// As [`accuracy`].
pub(crate) fn experiment(tree: &Tree, given: &Arguments) -> Result<ExitCode> {
    written(tree, &EXPERIMENT, given, "docs/experiments")
}

/// Runs the fault table; `--write` writes into `docs/experiments/`.
///
/// # Errors
/// As [`accuracy`].
pub(crate) fn faults(tree: &Tree, given: &Arguments) -> Result<ExitCode> {
    written(tree, &FAULTS, given, "docs/experiments")
}

/// Runs mixed load with random faults; `--write` writes into `docs/experiments/`.
///
/// # Errors
/// As [`accuracy`].
pub(crate) fn soak(tree: &Tree, given: &Arguments) -> Result<ExitCode> {
    written(tree, &SOAK, given, "docs/experiments")
}

/// Runs a program whose option `--write` needs the folder of its pages.
fn written(tree: &Tree, program: &Program, given: &Arguments, folder: &str) -> Result<ExitCode> {
    let mut arguments = given.arguments.clone();
    if let Some(write) = arguments.iter().position(|argument| argument == "--write") {
        arguments.insert(write + 1, tree.root.join(folder).into());
    }
    run(tree, program, arguments)
}

/// Runs a measurement.
///
/// # Errors
/// As [`accuracy`].
pub(crate) fn bench(tree: &Tree, bench: &Bench) -> Result<ExitCode> {
    let before = |first: OsString, given: &Arguments| [vec![first], given.arguments.clone()].concat();
    match bench {
        Bench::Churn(given) => run(tree, &CHURN, given.arguments.clone()),
        Bench::Cost(given) => run(tree, &COST, given.arguments.clone()),
        Bench::Objects(given) => {
            let built = Arguments { arguments: objects::with_built(tree, &given.arguments)? };
            written(tree, &OBJECTS, &built, "docs/experiments")
        }
        Bench::Nodes(given) => run(tree, &NODES, given.arguments.clone()),
        Bench::Obi(request) => obi::compare(tree, request),
        Bench::Stores(given) => run(tree, &STORES, given.arguments.clone()),
        Bench::Gateway(given) => {
            let grows = given.arguments.iter().any(|argument| argument == "--growth");
            let program = if grows { &GATEWAY_GROWTH } else { &GATEWAY_BENCH };
            written(tree, program, given, FOLDER)
        }
        Bench::Traces(given) => run(tree, &GATEWAY_COST, before("traces".into(), given)),
        Bench::Detector(given) => run(tree, &GATEWAY_COST, before("detector".into(), given)),
        Bench::Hotspot => {
            let mut benches = cargo(tree);
            benches.args(["bench", "--quiet", "-p", "hotspot", "--bench", "cost", "--bench", "sketch"]);
            command::exit_code(&mut benches)
        }
    }
}

fn run(tree: &Tree, program: &Program, arguments: Vec<OsString>) -> Result<ExitCode> {
    needs::ensure(tree, &[&[Part::Build], program.parts].concat())?;
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let is_help = has("--help") || has("-h") || has("--list");
    let needs_kernel = program.parts.contains(&Part::Kernel) && !is_help;
    if needs_kernel {
        build_ebpf::run(tree)?;
    }
    let mut programs = vec![("measure", program.name)];
    if !is_help {
        programs.extend(program.lab.iter().map(|name| (*name, *name)));
    }
    build(tree, program.profile, &programs)?;
    if program.name == GATEWAY_BENCH.name && has("--release") && !is_help {
        build(tree, "release", &[("gateway", "gateway")])?;
    }
    let path = tree.target.join(program.profile).join(program.name);
    let root = if needs_kernel { packages::root(terminal::is_interactive()) } else { Root::Already };
    let mut command = match root {
        Root::Already => Command::new(path),
        Root::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["-n", "--"]).arg(path);
            command
        }
        Root::No => bail!("{} loads kernel programs, which needs root: run it with sudo", program.name),
    };
    command::exit_code(command.args(arguments))
}
