//! The k6 scripts, run by the real k6.

use ::lab::k6;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{build, skip};

/// k6, if it is there. When it is not, the test `name` is reported as skipped, with the reason.
#[must_use]
pub fn available(name: &str) -> Option<PathBuf> {
    skip::unless(name, k6::find(&build::tree()).ok_or("k6 is not installed; `cargo xtask test` installs it"))
}

/// A script of `k6/` by its name without `.js`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    k6::script(&build::tree(), name)
}

/// The options that k6 reads from a script, as `k6 inspect` prints them.
///
/// # Errors
/// When k6 cannot read the script, or warns of it.
pub fn inspect(k6: &Path, name: &str, settings: &[(&str, &str)]) -> Result<Value> {
    let mut command = Command::new(k6);
    command.arg("inspect").env_clear();
    // Unlike `k6 run` it does not take them from the environment.
    for (name, value) in settings {
        command.args(["--env", &format!("{name}={value}")]);
    }
    command.arg(script(name));
    let output = command.output().context("k6 cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !said.is_empty() {
        bail!("k6 inspect {name}: {} {said}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A run of a script: exit code, summary, and what k6 said besides.
#[derive(Debug)]
pub struct Run {
    /// 0, or 99 where a threshold was not kept.
    pub code: Option<i32>,
    /// What it printed; null where that is no JSON.
    pub summary: Value,
    /// Warnings and errors.
    pub said: String,
}

/// Runs a script with these settings (and none of this process's) to its end.
///
/// # Errors
/// When k6 cannot be started.
pub async fn run(program: &Path, name: &str, settings: &[(&str, &str)]) -> Result<Run> {
    let mut command = k6::run(program, &script(name));
    command.arg("--quiet").env_clear().envs(settings.iter().copied());
    let output =
        tokio::task::spawn_blocking(move || command.output()).await?.context("k6 cannot be started")?;
    Ok(Run {
        code: output.status.code(),
        summary: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
