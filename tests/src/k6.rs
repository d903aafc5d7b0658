//! Runs the k6 scripts with k6.

use ::lab::k6;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{build, skip};

/// The path of k6. If it is not installed, reports the test `name` as skipped, with the reason.
#[must_use]
pub fn available(name: &str) -> Option<PathBuf> {
    skip::unless(name, k6::find(&build::tree()).ok_or("k6 is not installed; `cargo xtask test` installs it"))
}

/// The path of a script in `k6/`, by its name without `.js`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    k6::script(&build::tree(), name)
}

/// The options that k6 reads from a script, from `k6 inspect`.
///
/// # Errors
/// When k6 cannot read the script, or prints a warning.
pub fn inspect(k6: &Path, name: &str, settings: &[(&str, &str)]) -> Result<Value> {
    let mut command = Command::new(k6);
    command.arg("inspect").env_clear();
    // Unlike `k6 run`, it does not read them from the environment.
    for (name, value) in settings {
        command.args(["--env", &format!("{name}={value}")]);
    }
    command.arg(script(name));
    let output = command.output().context("k6 cannot be started")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !errors.is_empty() {
        bail!("k6 inspect {name}: {} {errors}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The result of a script: exit code, summary, and messages of k6.
#[derive(Debug)]
pub struct Run {
    /// 0 on success, 99 when a threshold failed.
    pub code: Option<i32>,
    /// The printed summary. Null if it is not JSON.
    pub summary: Value,
    /// Warnings and errors.
    pub errors: String,
}

/// Runs a script with these settings, without those of this process's environment, and waits until it ends.
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
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
