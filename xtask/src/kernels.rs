//! `cargo xtask kernels`: tests the kernel object in several kernels.
//!
//! Debian's cloud kernels boot in an emulator. Their initramfs holds the probe and its kernel tests. The same script
//! also tests the running kernel.

mod findings;
mod here;
mod programs;
mod report;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use self::programs::Programs;
use self::report::Row;
use crate::build_ebpf;
use crate::guest::{self, Kernel, Limits, Ran};
use crate::terminal::heading;
use lab::tree::Tree;

/// Maximum time for one kernel. Emulation on two busy cores takes a third of it.
const LIMIT: Duration = Duration::from_secs(480);

/// The guest's file system takes 80 MB of the memory.
const LIMITS: Limits = Limits { memory: 1536, time: LIMIT };

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
    let busybox = guest::busybox(tree)?;
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
        return Ok((None, here::run(programs, &folder.join(wanted.version))?));
    };
    let kernel = Kernel { version: wanted.version, suite };
    let (package, ran) = guest::run(tree, kernel, programs.file_system()?, LIMITS)?;
    Ok((Some(package), ran))
}
