//! `cargo xtask kernels`: tests the kernel object in several kernels.
//!
//! Debian's cloud kernels boot in an emulator. Their initramfs holds the probe and its kernel tests. The same script
//! also tests the running kernel.

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

/// Emulator and guest shell, each with its Debian package.
const EMULATOR: (&str, &str) = ("qemu-system-x86_64", "qemu-system-x86");
const BUSYBOX: (&str, &str) = ("busybox", "busybox-static");

/// A kernel to test.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Major and minor version, or `running`.
    version: &'static str,
    /// The Debian suite that has this kernel. `None` for the running one.
    suite: Option<&'static str>,
    /// Whether the probe may reject this kernel as too old. Then it must report that in one line and exit.
    may_refuse: bool,
}

/// All kernels, oldest first. The programs need `bpf_loop`, added in 5.17. The oldest long-term kernel with it is
/// 6.1.
const KERNELS: [Wanted; 4] = [
    Wanted { version: "5.10", suite: Some("bullseye"), may_refuse: true },
    Wanted { version: "6.1", suite: Some("bookworm"), may_refuse: false },
    Wanted { version: "6.12", suite: Some("bookworm-backports"), may_refuse: false },
    Wanted { version: "running", suite: None, may_refuse: false },
];

/// The values of `--kernel`.
pub(crate) const NAMES: [&str; 4] =
    [KERNELS[0].version, KERNELS[1].version, KERNELS[2].version, KERNELS[3].version];

#[derive(Debug, Clone, PartialEq, Eq)]
enum KernelOutcome {
    /// The programs load and count correctly.
    Runs,
    /// The kernel is older than the oldest supported one, and the probe reports that.
    Refuses,
    /// Any other outcome, with the reasons.
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

/// Tests the kernels in `names`, or all if it is empty. Returns whether each outcome is as expected.
///
/// # Errors
/// When the object, the probe, its tests or the tools cannot be built or installed.
pub(crate) fn run(tree: &Tree, names: &[String], json: Option<&Path>) -> Result<bool> {
    let requested: Vec<&Wanted> = KERNELS
        .iter()
        .filter(|kernel| names.is_empty() || names.iter().any(|name| name == kernel.version))
        .collect();
    heading("Kernel object, probe and its kernel tests");
    // The guests get a copy, so this must be the executable itself.
    let busybox = programs::executable(&tool(tree, BUSYBOX)?)?;
    build_ebpf::run(tree)?;
    let programs = Programs::build(tree, busybox)?;
    let folder = tree.target.join("kernels");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut rows = Vec::new();
    for wanted in requested {
        heading(&format!("Linux {}", wanted.version));
        let row = match query(tree, wanted, &programs, &folder) {
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

/// Runs the steps in one kernel. Returns the result and the kernel's package.
fn query(tree: &Tree, wanted: &Wanted, programs: &Programs, folder: &Path) -> Result<(Option<String>, Ran)> {
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

/// Returns the program's path. Installs its package if it is missing.
fn tool(tree: &Tree, (program, package): (&str, &str)) -> Result<PathBuf> {
    if let Some(found) = programs::find(program) {
        return Ok(found);
    }
    packages::install(tree, &[package.to_owned()], packages::root(terminal::is_interactive()))?;
    programs::find(program).ok_or_else(|| anyhow!("{package} does not contain {program}"))
}
