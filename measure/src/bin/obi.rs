//! `obi`: measures the probe beside OpenTelemetry's eBPF instrumentation (OBI).
//!
//! `cargo xtask bench obi` builds what it needs and runs it, in an emulated kernel if necessary.

use anyhow::Context as _;
use clap::Parser;
use lab::{programs, signals};
use lab_tests::program;
use measure::obi::{self, Options, Results, Setting};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Measure the probe beside OBI in the running kernel, which needs kprobes; exit code 1 if something was not measured
#[derive(Debug, Parser)]
struct Args {
    /// OBI's program, built from its repository
    #[arg(long, value_name = "PROGRAM", value_parser = executable, required_unless_present = "from")]
    obi: Option<PathBuf>,
    /// Rounds of the costs
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Requests of each kind of traffic
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(200..=1_000_000))]
    requests: u32,
    /// Write all results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure nothing and show these results, written with `--json`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["obi", "rounds", "requests", "json"])]
    from: Option<PathBuf>,
    /// The emulated kernel in which those results were measured
    #[arg(long, value_name = "KERNEL", requires = "from")]
    emulated: Option<String>,
    /// Write a page into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    program::end("obi", run(Args::parse()))
}

fn run(args: Args) -> anyhow::Result<bool> {
    // Without it, a signal would leave the shards running.
    signals::install();
    let results = match (&args.from, args.obi) {
        (Some(file), _) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_str::<Results>(&text)
                .with_context(|| format!("{} has no results", file.display()))?
        }
        (None, Some(obi)) => {
            let programs = std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default();
            let options = Options { programs, obi, rounds: args.rounds, requests: args.requests };
            obi::run(&options, |what| eprintln!("  {what}"))?
        }
        (None, None) => anyhow::bail!("--obi is missing: give OBI's program"),
    };
    if let Some(file) = &args.json {
        program::write(file, &format!("{}\n", serde_json::to_string(&results)?))?;
    }
    let page = obi::page(&results, &args.emulated.map_or(Setting::Here, Setting::Emulated));
    print!("{}", page.content);
    if let Some(folder) = &args.write {
        program::write(&folder.join(page.name), &page.content)?;
    }
    Ok(results.is_complete())
}

/// A path of an executable file.
fn executable(path: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(path);
    if programs::is_program(&path) {
        return Ok(path);
    }
    Err("it is no executable file; docs/benchmarks/README.md describes how to build OBI".to_owned())
}
