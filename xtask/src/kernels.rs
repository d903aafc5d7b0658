//! `cargo xtask kernels`: the kernel object loaded and counting in other kernels than the one that runs here.
//!
//! Debian's cloud kernels boot in an emulator with a first file system that holds the probe and its kernel tests; the
//! running kernel is asked the same questions by the same script.

mod boot;
mod console;
mod cpio;
mod fetch;
mod image;
mod report;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use self::boot::Ran;
use self::image::Programs;
use self::report::Row;
use crate::build_ebpf;
use crate::packages;
use crate::terminal::{self, heading};
use lab::programs;
use lab::tree::Tree;

/// Emulator and guest's shell, with the packages that bring them.
const EMULATOR: (&str, &str) = ("qemu-system-x86_64", "qemu-system-x86");
const BUSYBOX: (&str, &str) = ("busybox", "busybox-static");

/// A kernel to ask.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Major and minor version, or `running`.
    version: &'static str,
    /// Debian's suite that has it; none for the running one.
    suite: Option<&'static str>,
    /// Whether the probe may say that it is too old: then it must say so in one line and end.
    may_refuse: bool,
}

/// All kernels, oldest first. The programs need `bpf_loop`, which came with 5.17; the oldest long-term kernel with it
/// is 6.1.
const KERNELS: [Wanted; 4] = [
    Wanted { version: "5.10", suite: Some("bullseye"), may_refuse: true },
    Wanted { version: "6.1", suite: Some("bookworm"), may_refuse: false },
    Wanted { version: "6.12", suite: Some("bookworm-backports"), may_refuse: false },
    Wanted { version: "running", suite: None, may_refuse: false },
];

/// The names that `--kernel` takes.
pub(crate) const NAMES: [&str; 4] =
    [KERNELS[0].version, KERNELS[1].version, KERNELS[2].version, KERNELS[3].version];

/// What a kernel's answers come to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum KernelOutcome {
    /// The programs load and count right.
    Runs,
    /// Older than the oldest the probe takes, and the probe says so.
    Refuses,
    /// Anything else, with the reasons.
    Fails(Vec<String>),
}

impl KernelOutcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Refuses => "is too old",
            Self::Fails(_) => "fails",
        }
    }
}

/// Tests the named kernels, or all, and returns whether each is as expected.
///
/// # Errors
/// When the object, the probe or its tests cannot be built, or the tools cannot be had.
pub(crate) fn run(tree: &Tree, names: &[String], json: Option<&Path>) -> Result<bool> {
    let asked: Vec<&Wanted> = KERNELS
        .iter()
        .filter(|kernel| names.is_empty() || names.iter().any(|name| name == kernel.version))
        .collect();
    heading("Kernel object, probe and its kernel tests");
    // It is copied into the guests.
    let busybox = programs::executable(&tool(tree, BUSYBOX)?)?;
    build_ebpf::run(tree)?;
    let programs = Programs::build(tree, busybox)?;
    let folder = tree.target.join("kernels");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut rows = Vec::new();
    for wanted in asked {
        heading(&format!("Linux {}", wanted.version));
        let row = match ask(tree, wanted, &programs, &folder) {
            Ok((package, ran)) => Row::new(wanted, package, &ran),
            Err(error) => {
                lab::signals::check()?;
                eprintln!("  {error:#}");
                Row::unasked(wanted, &error)
            }
        };
        rows.push(row);
    }
    report::print(&rows);
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&report::json(&rows))?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(rows.iter().all(Row::holds))
}

/// Runs the steps in one kernel; with the package it came from.
fn ask(tree: &Tree, wanted: &Wanted, programs: &Programs, folder: &Path) -> Result<(Option<String>, Ran)> {
    let Some(suite) = wanted.suite else {
        return Ok((None, boot::here(programs, &folder.join(wanted.version))?));
    };
    let emulator = tool(tree, EMULATOR)?;
    let image = fetch::image(tree, wanted.version, suite)?;
    println!("{}", image.package);
    let file_system = folder.join("file-system.cpio");
    programs.file_system(&file_system)?;
    let log = folder.join(wanted.version).join("console.log");
    let ran = boot::guest(&emulator, &image.file, &file_system, &log)?;
    Ok((Some(image.package), ran))
}

/// The program, installed first when it is missing.
fn tool(tree: &Tree, (program, package): (&str, &str)) -> Result<PathBuf> {
    if let Some(found) = programs::find(program) {
        return Ok(found);
    }
    packages::install(tree, &[package.to_owned()], packages::root(terminal::is_interactive()))?;
    programs::find(program).ok_or_else(|| anyhow!("{package} brought no {program}"))
}
