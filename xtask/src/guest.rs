//! Boots Debian's kernels in an emulator, with programs of this machine in their initramfs.
//!
//! The guest runs steps in a shell. Their marks on the console separate the sections of their output.

mod boot;
mod console;
mod cpio;
mod fetch;
mod file_system;

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::packages;
use crate::terminal;
use lab::programs;
use lab::tree::Tree;

pub(crate) use self::boot::{Limits, Ran, follow};
pub(crate) use self::console::{Console, SHOWN_LINES, shortened};
pub(crate) use self::file_system::FileSystem;

/// Emulator and guest shell, each with its Debian package.
const EMULATOR: (&str, &str) = ("qemu-system-x86_64", "qemu-system-x86");
const BUSYBOX: (&str, &str) = ("busybox", "busybox-static");

/// A kernel of Debian's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Major and minor version.
    pub(crate) version: &'static str,
    /// The Debian suite that has it.
    pub(crate) suite: &'static str,
}

/// The guest's shell. Installs it if it is missing.
///
/// # Errors
/// When it cannot be installed.
pub(crate) fn busybox(tree: &Tree) -> Result<PathBuf> {
    // The guests get a copy, so this must be the executable itself.
    programs::executable(&tool(tree, BUSYBOX)?)
}

/// Boots `kernel` with `file_system`, and follows it to the end of its steps. Its console goes to the kernel's
/// folder in `target/kernels`. Returns the kernel's package too.
///
/// # Errors
/// When emulator or kernel are not available.
pub(crate) fn run(
    tree: &Tree,
    kernel: Kernel,
    file_system: FileSystem,
    limits: Limits,
) -> Result<(String, Ran)> {
    let emulator = tool(tree, EMULATOR)?;
    let image = fetch::image(tree, kernel.version, kernel.suite)?;
    println!("{}", image.package);
    let folder = tree.target.join("kernels");
    let file = folder.join("file-system.cpio");
    file_system.write(&file)?;
    let log = folder.join(kernel.version).join("console.log");
    let ran = boot::guest(&emulator, &image.file, &file, &log, limits)?;
    Ok((image.package, ran))
}

/// Returns the program's path. Installs its package if it is missing.
fn tool(tree: &Tree, (program, package): (&str, &str)) -> Result<PathBuf> {
    if let Some(found) = programs::find(program) {
        return Ok(found);
    }
    packages::install(tree, &[package.to_owned()], packages::root(terminal::is_interactive()))?;
    programs::find(program).ok_or_else(|| anyhow!("{package} does not contain {program}"))
}
