//! `experiment`: runs paired experiments on the whole lab, by name.
//!
//! `cargo xtask experiment` builds what it needs and runs it.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use lab_tests::{build, program};
use measure::experiment::Experiment;
use measure::experiment::report::ExperimentReport;
use measure::experiment::trials::Plan;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run experiments that compare theory, application and kernel on the whole lab; exit code 1 if a figure fails its
/// requirement or is refused
#[derive(Debug, Parser)]
struct Args {
    /// Names of the experiments to run; `all` runs every one
    #[arg(required_unless_present = "list", value_name = "NAME", value_parser = name)]
    names: Vec<Names>,
    /// List the experiments
    #[arg(long)]
    list: bool,
    /// Runs of each arm: 5 to 100, and with --quick 1 to 100 [default: 5, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    repetitions: Option<u32>,
    /// Seed of keys and orders
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Small runs that take seconds; refusals stay the same, but a share may be off by three points instead of one
    #[arg(long)]
    quick: bool,
    /// Write each result into this folder, as Markdown with its charts
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Names {
    All,
    One(Experiment),
}

fn name(text: &str) -> Result<Names, String> {
    if text == "all" {
        return Ok(Names::All);
    }
    let known = || Experiment::value_variants().iter().map(|one| one.name()).collect::<Vec<_>>().join(", ");
    Experiment::from_str(text, false).map(Names::One).map_err(|_| format!("allowed: all, {}", known()))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let least = if args.quick { 1 } else { 5 };
    let repetitions = args.repetitions.unwrap_or(least);
    if repetitions < least {
        let why = format!("--repetitions {repetitions} is too few to compare: at least 5, or --quick");
        Args::command().error(ErrorKind::ValueValidation, why).exit();
    }
    let plan = Plan { repetitions, seed: args.seed, quick: args.quick };
    program::end("experiment", run(&args, plan))
}

fn run(args: &Args, plan: Plan) -> anyhow::Result<bool> {
    if args.list {
        for experiment in Experiment::value_variants() {
            println!("{:<14} {}", experiment.name(), experiment.about());
        }
        return Ok(true);
    }
    let chosen = |name: &Names| match name {
        Names::All => Experiment::value_variants().to_vec(),
        Names::One(experiment) => vec![*experiment],
    };
    build::take_from(std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut holds = true;
    for experiment in args.names.iter().flat_map(chosen) {
        let progress = |what: &str| eprintln!("  {}: {what}", experiment.name());
        let report = runtime.block_on(ExperimentReport::of(experiment, plan, &progress));
        print!("{}", report.text());
        if let Some(folder) = &args.write {
            for file in report.files() {
                program::write(&folder.join(file.name), &file.content)?;
            }
        }
        holds &= report.holds();
    }
    Ok(holds)
}
