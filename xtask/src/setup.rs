//! `cargo xtask setup`: installs what the lab needs on this machine.

use anyhow::Result;
use lab::tree::Tree;

use crate::packages::Part;
use crate::{build_ebpf, k6, needs};

/// Installs missing tools for the build and the kernel object. Includes those of the tests unless `kernel_only` is
/// set.
///
/// # Errors
/// When a requirement of the build or the kernel object cannot be installed. The error has the commands to run.
pub(crate) fn run(tree: &Tree, kernel_only: bool) -> Result<()> {
    if kernel_only {
        needs::ensure(tree, &[Part::Kernel])?;
        build_ebpf::linker(tree)?;
        println!("Everything for the kernel programs is here.");
        return Ok(());
    }
    needs::ensure(tree, &[Part::Build, Part::Kernel, Part::Tests, Part::Store, Part::LoadTool])?;
    build_ebpf::linker(tree)?;
    k6::ensure_if_possible(tree)?;
    println!("Everything that the lab needs is installed.");
    Ok(())
}
