//! `cargo xtask`: set-up, the lab, its demo and its tests.
//!
//! One module per subcommand. The crate depends on none of the service crates, so it compiles in seconds.

mod browser;
mod build_ebpf;
mod cargo;
mod ci;
mod cluster_test;
mod compose_test;
mod dashboards;
mod demo;
mod dist;
mod guest;
mod k6;
mod kernel;
mod kernels;
mod load;
mod manifests;
mod measure;
mod metrics;
mod native_lab;
mod needs;
mod objects;
mod openapi;
mod outcome;
mod packages;
mod page;
mod probe_client;
mod python;
mod runbook;
mod setup;
mod step;
mod table;
mod terminal;
mod test;
mod test_output;
mod tidy;
mod toolchain;
mod up;
mod verdicts;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::outcome::CheckOutcome;
use lab::ports::Ports;
use lab::tree::Tree;
use lab::{command, guard, signals};

/// The Hot Partition Lab: set-up, the running lab, demo, tests, measurements.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Install what the lab needs, or print what to install
    Setup {
        /// Only the tools that build the kernel programs
        #[arg(long)]
        kernel: bool,
    },
    /// Compile the kernel programs into target/bpf/probe-ebpf
    BuildEbpf,
    /// Run the lab in the foreground; Ctrl-C stops it
    Up(UpArgs),
    /// Stop the lab that `up` runs
    Down(PortBase),
    /// Run four scenarios and compare generator, application, kernel and theory
    Demo(DemoArgs),
    /// Build one static probe binary for any x86-64 Linux from 6.1 on: target/dist/probe
    Dist,
    /// Run all tests and install what they need
    Test {
        /// Also run the tests with a million requests
        #[arg(long)]
        full: bool,
    },
    /// Test the live page in headless Chromium; screenshots go to target/page
    PageTest {
        /// Renew the README's pictures in docs/pictures instead
        #[arg(long)]
        pictures: bool,
    },
    /// Run all checks that must pass before a merge: format, lints, house rules, tests, a quick demo, the runbook
    Ci {
        /// Also run the tests with a million requests
        #[arg(long)]
        full: bool,
        /// Skip the tests, if `cargo xtask test` has run already
        #[arg(long, conflicts_with = "full")]
        no_test: bool,
        #[command(flatten)]
        ports: PortBase,
    },
    /// Load and test the kernel programs in emulated kernels and the running one
    Kernels {
        /// Only this kernel; can be repeated
        #[arg(long, value_name = "VERSION", value_parser = kernels::NAMES)]
        kernel: Vec<String>,
        /// Write all results as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Compare the probe's counts with an exact server on all kinds of traffic
    #[command(disable_help_flag = true)]
    Accuracy(measure::Arguments),
    /// Start compose.yaml on a container engine, check it, and stop it; starts an engine if none runs
    ComposeTest(compose_test::Request),
    /// Test deploy/kubernetes on a cluster of two nodes on this machine; needs root and Go
    ClusterTest(cluster_test::Request),
    /// Measure costs: the sources of the numbers in the documentation
    #[command(subcommand)]
    Bench(measure::Bench),
    /// Print docs/metrics.md from the code
    Metrics {
        /// Write docs/metrics.md
        #[arg(long)]
        write: bool,
    },
    /// Check deploy/kubernetes against its sources, kustomize and Kubernetes' schemas
    Manifests {
        /// Write the PrometheusRule from deploy/prometheus/rules first
        #[arg(long)]
        write: bool,
    },
    /// Check that the dashboards match grafana/source; needs Node and npm
    Dashboards {
        /// Write the dashboards instead
        #[arg(long)]
        write: bool,
    },
    /// Test the services against docs/openapi with generated requests; installs Schemathesis
    Openapi(openapi::Request),
    /// Run every block of docs/runbook.md against a new lab and check its output
    Runbook(runbook::Request),
    /// Compare the lab with theory in repeated runs; `--list` prints the experiments
    #[command(disable_help_flag = true)]
    Experiment(measure::Arguments),
    /// Break the running lab in many ways under load and count what a client notices; `--list` prints the faults
    #[command(disable_help_flag = true)]
    Faults(measure::Arguments),
    /// Run mixed load with random faults and watch what the processes hold: `cargo xtask soak --minutes 60`
    #[command(disable_help_flag = true)]
    Soak(measure::Arguments),
    /// Check the house rules: dependencies, cycles, sizes, lints, links, prose
    Tidy,
    /// Run the load generator: `cargo xtask load run celebrity --duration 30`
    #[command(disable_help_flag = true)]
    Load {
        /// Arguments of the generator
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Run a script of k6/ against the running lab: `cargo xtask k6 celebrity --duration 30`
    K6(k6::Request),
    /// Run a program for as long as standard input is open
    #[command(hide = true)]
    Guard {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<OsString>,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct PortBase {
    /// The gateway's port; shards are at N + 1000 …, the probe at N + 1010, Prometheus at N + 1090
    #[arg(long, value_name = "N", default_value_t = Ports::DEFAULT_BASE,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(Ports::HIGHEST_BASE)))]
    port_base: u16,
}

impl PortBase {
    fn ports(&self) -> Ports {
        Ports::new(self.port_base)
    }
}

#[derive(Debug, Args)]
struct LabArgs {
    #[command(flatten)]
    ports: PortBase,
    /// Run without the kernel part: no probe, no kernel object
    #[arg(long)]
    no_kernel: bool,
}

#[derive(Debug, Args)]
struct UpArgs {
    #[command(flatten)]
    lab: LabArgs,
    /// Run this store in place of the lab's gateway and shards; installed if missing
    #[arg(long, value_name = "STORE")]
    store: Option<Store>,
}

/// A store that the probe can watch.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Store {
    /// A Redis Cluster of three primaries and three replicas
    Redis,
}

#[derive(Debug, Args)]
struct DemoArgs {
    #[command(flatten)]
    lab: LabArgs,
    /// Apply load for 4 s per scenario instead of 15 s
    #[arg(long)]
    quick: bool,
    /// Write all results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail if the kernel part cannot run
    #[arg(long, conflicts_with = "no_kernel")]
    require_kernel: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    signals::install();
    command::raise_open_files();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) if error.is::<signals::Interrupted>() => {
            eprintln!("xtask: interrupted; everything it started is stopped");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> Result<ExitCode> {
    let tree = Tree::find()?;
    let done = |()| ExitCode::SUCCESS;
    let verdict = |holds: bool| if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let outcome = |outcome: CheckOutcome| verdict(!outcome.fails());
    match action {
        Action::Setup { kernel } => setup::run(&tree, kernel).map(done),
        Action::BuildEbpf => build_ebpf::run(&tree).map(done),
        Action::Up(UpArgs { lab, store: None }) => {
            up::run(&tree, lab.ports.ports(), !lab.no_kernel).map(done)
        }
        Action::Up(UpArgs { lab, store: Some(Store::Redis) }) => {
            up::run_store(&tree, lab.ports.ports(), !lab.no_kernel).map(done)
        }
        Action::Down(ports) => up::down(&tree, ports.ports()).map(done),
        Action::Demo(demo) => demo::run(
            &tree,
            &demo::Request {
                quick: demo.quick,
                json: demo.json,
                ports: demo.lab.ports.ports(),
                with_kernel: !demo.lab.no_kernel,
                require_kernel: demo.require_kernel,
            },
        )
        .map(verdict),
        Action::Dist => dist::run(&tree).map(done),
        Action::Test { full } => test::run(&tree, full).map(outcome),
        Action::PageTest { pictures: true } => page::pictures(&tree).map(outcome),
        Action::PageTest { pictures: false } => page::run(&tree).map(outcome),
        Action::Ci { full, no_test, ports } => ci::run(&tree, full, !no_test, ports).map(verdict),
        Action::Kernels { kernel, json } => kernels::run(&tree, &kernel, json.as_deref()).map(verdict),
        Action::Accuracy(request) => measure::accuracy(&tree, &request),
        Action::ComposeTest(request) => compose_test::run(&tree, &request).map(verdict),
        Action::ClusterTest(request) => cluster_test::run(&tree, &request).map(verdict),
        Action::Bench(bench) => measure::bench(&tree, &bench),
        Action::Dashboards { write } => dashboards::run(&tree, write).map(done),
        Action::Manifests { write } => manifests::run(&tree, write).map(|ended| {
            ended.report_skipped();
            outcome(ended)
        }),
        Action::Metrics { write } => metrics::run(&tree, write).map(done),
        Action::Openapi(request) => openapi::run(&tree, &request).map(|ended| {
            ended.report_skipped();
            outcome(ended)
        }),
        Action::Runbook(request) => runbook::run(&tree, &request).map(outcome),
        Action::Experiment(request) => measure::experiment(&tree, &request),
        Action::Faults(request) => measure::faults(&tree, &request),
        Action::Soak(request) => measure::soak(&tree, &request),
        Action::Tidy => tidy::run(&tree).map(done),
        Action::Load { arguments } => load::run(&tree, &arguments),
        Action::K6(request) => k6::run(&tree, &request),
        Action::Guard { program } => guard::run(&program),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Action, Cli};

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_load_is_the_generators() {
        let cli = Cli::parse_from(["xtask", "load", "run", "--help", "--rate-factor", "2"]);
        let Action::Load { arguments } = cli.command else { panic!("not load: {cli:?}") };
        assert_eq!(arguments, ["run", "--help", "--rate-factor", "2"]);
    }

    #[test]
    fn a_base_without_room_for_the_probe_is_refused() {
        assert!(Cli::try_parse_from(["xtask", "up", "--port-base", "65000"]).is_err());
        assert!(Cli::try_parse_from(["xtask", "demo", "--require-kernel", "--no-kernel"]).is_err());
    }
}
