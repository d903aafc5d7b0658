//! The k6 scripts, run by the real k6.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build;

/// Where `cargo xtask test` puts k6, within the target folder.
const INSTALLED: &str = "tools/k6-1.1.0/bin/k6";

/// k6, if it is there. When it is not, the test `name` is reported as skipped, with the reason.
///
/// # Panics
/// When it is not and `CI=true`: a skipped test must not look green there.
#[must_use]
pub fn available(name: &str) -> Option<PathBuf> {
    let installed = build::target_folder().join(INSTALLED);
    if installed.is_file() {
        return Some(installed);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) =
        std::env::split_paths(&path).map(|folder| folder.join("k6")).find(|file| file.is_file())
    {
        return Some(found);
    }
    let why = "k6 is not installed; `cargo xtask test` installs it";
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{name}: {why}");
    println!("SKIPPED {name}: {why}");
    None
}

/// A script of `k6/` by its name without `.js`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../k6").join(name).with_extension("js")
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
pub async fn run(k6: &Path, name: &str, settings: &[(&str, &str)]) -> Result<Run> {
    let mut command = Command::new(k6);
    command.args(["run", "--quiet", "--no-usage-report"]).arg(script(name));
    command.env_clear().envs(settings.iter().copied());
    let output =
        tokio::task::spawn_blocking(move || command.output()).await?.context("k6 cannot be started")?;
    Ok(Run {
        code: output.status.code(),
        summary: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
