//! `cargo xtask setup`: finds what the lab misses on this machine and installs it.

use anyhow::Result;
use lab::tree::Tree;

use crate::packages::Part;
use crate::{build_ebpf, k6, needs};

/// Installs whatever is missing, for building, for the kernel object and, unless `kernel_only`, for the tests.
///
/// # Errors
/// When something that building or the kernel object needs can not be had; with the commands to give.
pub(crate) fn run(tree: &Tree, kernel_only: bool) -> Result<()> {
    if kernel_only {
        needs::ensure(tree, &[Part::Kernel])?;
        build_ebpf::linker(tree)?;
        println!("Everything for the kernel programs is here.");
        return Ok(());
    }
    needs::ensure(tree, &[Part::Build, Part::Kernel, Part::Tests, Part::LoadTool])?;
    build_ebpf::linker(tree)?;
    k6::ensure_if_possible(tree)?;
    println!("Everything the lab needs is here.");
    Ok(())
}
