//! `cargo xtask bench obi`: runs the measurement in the running kernel, or in an emulated one.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use lab::programs;
use lab::tree::Tree;

use super::{FOLDER, OBI, Program, run};
use crate::cargo::build;
use crate::guest::{self, FileSystem, Kernel, Limits, shortened};
use crate::packages::Part;
use crate::{build_ebpf, needs};

/// The oldest kernel that the lab supports.
const KERNEL: Kernel = Kernel { version: "6.1", suite: "bookworm" };

/// The file system takes 150 MB, and twice that while it is unpacked. OBI needs 500 MB.
const LIMITS: Limits = Limits { memory: 3072, time: Duration::from_secs(2_400) };

/// Exists in a kernel with kprobes.
const KPROBES: &str = "/sys/bus/event_source/devices/kprobe";

/// Options of `cargo xtask bench obi`.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// OBI's program, built from its repository
    #[arg(long, value_name = "PROGRAM", value_parser = executable)]
    obi: PathBuf,
    /// Use an emulated kernel although the running one has kprobes
    #[arg(long)]
    emulated: bool,
    /// Rounds of the costs
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Requests of each kind of traffic
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(200..=1_000_000))]
    requests: u32,
    /// Write a page into docs/benchmarks
    #[arg(long)]
    write: bool,
}

/// Measures the probe beside OBI.
///
/// # Errors
/// When something cannot be built or installed, or the emulated kernel does not reach the last step.
pub(super) fn compare(tree: &Tree, request: &Request) -> Result<ExitCode> {
    let option = |name: &str, value: String| [OsString::from(name), value.into()];
    let mut arguments = vec![OsString::from("--obi"), request.obi.clone().into()];
    arguments.extend(option("--rounds", request.rounds.to_string()));
    arguments.extend(option("--requests", request.requests.to_string()));
    let page = if request.write { vec!["--write".into(), tree.root.join(FOLDER).into()] } else { Vec::new() };
    if Path::new(KPROBES).exists() && !request.emulated {
        return run(tree, &OBI, [arguments, page].concat());
    }
    println!("An emulated kernel is used. Only its counts are exact.");
    let (results, kernel) = emulate(tree, request)?;
    let shown = Program { parts: &[], lab: &[], ..OBI };
    let from = ["--from".into(), results.into(), "--emulated".into(), kernel.into()];
    run(tree, &shown, [from.to_vec(), page].concat())
}

/// Runs the measurement in a guest. Returns the file of its results, and the kernel's package.
fn emulate(tree: &Tree, request: &Request) -> Result<(PathBuf, String)> {
    let busybox = guest::busybox(tree)?;
    needs::ensure(tree, &[Part::Build, Part::Kernel])?;
    build_ebpf::run(tree)?;
    let lab = OBI.lab.iter().map(|name| (*name, *name));
    build(tree, OBI.profile, &[("measure", OBI.name)].into_iter().chain(lab).collect::<Vec<_>>())?;
    // The guest uses the same paths as this machine.
    let built = tree.target.join(OBI.profile);
    let [measure, shard, gateway, probe] =
        [OBI.name, "shard", "gateway", "probe"].map(|name| built.join(name));
    let obi = programs::executable(&request.obi)?;
    let variables: [(&str, &Path); 5] =
        [("MEASURE", &measure), ("OBI", &obi), ("SHARD", &shard), ("GATEWAY", &gateway), ("PROBE", &probe)];
    let (rounds, requests) = (request.rounds, request.requests);
    let settings = format!("ROUNDS={rounds} REQUESTS={requests}\n");
    let steps = settings + include_str!("obi/steps.sh");
    let file_system = FileSystem::new(&busybox, &steps, &variables)?;
    let (package, ran) = guest::run(tree, KERNEL, file_system, LIMITS)?;
    let console = &ran.console;
    let results = console.lines("results").into_iter().find(|line| line.starts_with('{'));
    let Some(results) = results.filter(|_| console.code("results") == Some(0)) else {
        let how = if ran.stopped { "took too long" } else { "has no results" };
        let place = console.unfinished().unwrap_or("its end");
        let words = console.last_words().into_iter().map(shortened).collect::<Vec<_>>().join("\n  ");
        bail!("the emulated kernel {how} ({place}); its last lines:\n  {words}");
    };
    let file = tree.target.join("kernels").join("obi.json");
    fs::write(&file, results).with_context(|| format!("cannot write {}", file.display()))?;
    Ok((file, package))
}

/// A path of an executable file.
fn executable(path: &str) -> Result<PathBuf, String> {
    match Path::new(path).canonicalize() {
        Ok(path) if programs::is_program(&path) => Ok(path),
        _ => Err("it is no executable file; docs/benchmarks/README.md describes how to build OBI".to_owned()),
    }
}
