//! `cargo xtask dist`: one static probe binary with the kernel object inside.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use lab::tree::Tree;
use lab::{command, programs};

use crate::cargo::cargo;
use crate::packages::Part;
use crate::step::Step;
use crate::{build_ebpf, needs};

/// The target whose programs need no shared library.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds `target/dist/probe`. Installs what is missing.
///
/// # Errors
/// When a tool cannot be installed, the probe does not compile, or the result is not static.
pub(crate) fn run(tree: &Tree) -> Result<()> {
    ensure!(ARCH == "x86_64", "a static probe can be built on x86-64 only, not on {ARCH}");
    needs::ensure(tree, &[Part::Build, Part::Kernel, Part::Static])?;
    add_target(tree)?;
    build_ebpf::run(tree)?;
    let mut build = cargo(tree);
    build
        .args(["build", "--profile", "dist", "--target", TARGET, "-p", "probe", "--bin", "probe"])
        .env("CARGO_PROFILE_DIST_STRIP", "symbols")
        // rustc links musl itself. Only the C parts of dependencies need a compiler for it.
        .env("CC_x86_64_unknown_linux_musl", "musl-gcc");
    Step::new("compiling the static probe", 300).run(tree, &mut build)?;
    let built = tree.target.join(TARGET).join("dist/probe");
    let to = tree.target.join("dist/probe");
    fs::create_dir_all(tree.target.join("dist")).context("cannot create target/dist")?;
    fs::copy(&built, &to).with_context(|| format!("cannot copy {}", built.display()))?;
    ensure_static(&to)?;
    let version = command::capture(Command::new(&to).arg("--version"))?;
    let bytes = fs::metadata(&to)?.len();
    println!(
        "{}: {}, {bytes} bytes, statically linked. It runs on x86-64 with Linux 6.1 or later.",
        tree.shown(&to),
        version.trim()
    );
    Ok(())
}

/// Installs the standard library for the target.
fn add_target(tree: &Tree) -> Result<()> {
    if programs::find("rustup").is_none() {
        bail!("the standard library of {TARGET} needs rustup, which is not installed: see https://rustup.rs");
    }
    let installed = command::capture(Command::new("rustup").args(["target", "list", "--installed"]))?;
    if installed.lines().any(|line| line == TARGET) {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", TARGET]);
    Step::new(&format!("installing the standard library of {TARGET}"), 20).run(tree, &mut add)
}

/// Checks that an ELF file names no program interpreter, which loads shared libraries.
fn ensure_static(path: &Path) -> Result<()> {
    /// Type of the program header that names the interpreter (`PT_INTERP`, elf(5)).
    const INTERPRETER: u32 = 3;
    /// Offsets of `e_phoff`, `e_phentsize` and `e_phnum` in the 64-bit ELF header.
    const TABLE: usize = 32;
    const ENTRY_SIZE: usize = 54;
    const ENTRIES: usize = 56;
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let field = |at: usize, length: usize| {
        let field = bytes.get(at..at + length)?;
        Some(field.iter().rev().fold(0_usize, |value, byte| value << 8 | usize::from(*byte)))
    };
    let headers = || {
        let (table, size, count) = (field(TABLE, 8)?, field(ENTRY_SIZE, 2)?, field(ENTRIES, 2)?);
        (0..count).map(|index| field(table + index * size, 4)).collect::<Option<Vec<_>>>()
    };
    let headers = headers().with_context(|| format!("{} is not a 64-bit ELF file", path.display()))?;
    ensure!(!headers.contains(&(INTERPRETER as usize)), "{} needs shared libraries", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::ensure_static;

    #[test]
    fn a_program_with_shared_libraries_is_not_static() {
        let this = std::env::current_exe().unwrap();
        let error = ensure_static(&this).unwrap_err().to_string();
        assert!(error.ends_with("needs shared libraries"), "{error}");
    }
}
