//! `cargo xtask k6 NAME`: runs a script of `k6/`.
//!
//! Installs k6 if necessary.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use lab::tree::Tree;
use lab::{command, k6, signals};

use crate::packages::Part;
use crate::{needs, python};

/// Command-line options.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// A script of k6/ without `.js`: uniform, zipfian, celebrity, with-caching …
    name: String,
    /// The gateway's URL
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    gateway: String,
    /// Seconds of load instead of the script's two minutes
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Multiplies the script's rates and numbers of users
    #[arg(long, value_name = "FACTOR")]
    rate_factor: Option<f64>,
    /// Seed of the key sequence
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Arguments for `k6 run`, after `--`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the script. Returns k6's exit code, which is 99 when a threshold fails.
///
/// # Errors
/// When the script does not exist, or k6 cannot be installed or started.
pub(crate) fn run(tree: &Tree, request: &Request) -> Result<ExitCode> {
    let script = k6::script(tree, &request.name);
    if !script.is_file() {
        bail!("k6/ has no {}.js; it has {}", request.name, scripts(tree)?.join(", "));
    }
    needs::ensure(tree, &[Part::LoadTool])?;
    command::exit_code(&mut command(&ensure(tree)?, &script, request))
}

fn command(k6: &Path, script: &Path, request: &Request) -> Command {
    let mut command = k6::run(k6, script);
    command.args(&request.arguments).env("BASE_URL", &request.gateway);
    let settings = [
        ("DURATION", request.duration.map(|seconds| seconds.to_string())),
        ("RATE_FACTOR", request.rate_factor.map(|factor| factor.to_string())),
        ("SEED", request.seed.map(|seed| seed.to_string())),
    ];
    for (name, value) in settings {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

/// The sorted names of all scripts.
fn scripts(tree: &Tree) -> Result<Vec<String>> {
    let folder = tree.root.join("k6").read_dir().context("k6/ cannot be read")?;
    let mut names: Vec<String> = folder
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".js")?.to_owned()))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// A command that runs the script `name` against `gateway` for `seconds`, without progress output.
pub(crate) fn short(tree: &Tree, k6: &Path, name: &str, gateway: &str, seconds: u32) -> Command {
    let request = Request {
        name: name.to_owned(),
        gateway: gateway.to_owned(),
        duration: Some(seconds.into()),
        rate_factor: None,
        seed: None,
        arguments: vec!["--quiet".into()],
    };
    command(k6, &k6::script(tree, name), &request)
}

/// Returns the path of k6. If none is installed, installs it into a separate Python environment.
///
/// # Errors
/// When k6 cannot be installed. The error lists what is missing.
pub(crate) fn ensure(tree: &Tree) -> Result<PathBuf> {
    match k6::find(tree) {
        Some(found) => Ok(found),
        None => install(tree),
    }
}

/// Returns the path of the k6 in the target directory. Installs it if necessary.
///
/// # Errors
/// When k6 cannot be installed. The error lists what is missing.
pub(crate) fn install(tree: &Tree) -> Result<PathBuf> {
    python::install(tree, "k6", k6::VERSION, "k6")
}

/// Like [`ensure`], but returns `None` when k6 cannot be installed. The caller reports that.
///
/// # Errors
/// Only when a signal interrupts it.
pub(crate) fn ensure_if_possible(tree: &Tree) -> Result<Option<PathBuf>> {
    match ensure(tree) {
        Ok(k6) => Ok(Some(k6)),
        Err(error) => {
            signals::check()?;
            println!("  {error:#}\n  Commands that need it report this again.");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::{Request, command};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        request: Request,
    }

    #[test]
    fn options_become_the_scripts_settings() {
        let line = ["k6", "celebrity", "--duration", "30", "--seed", "7", "--", "--quiet"];
        let command = command(Path::new("k6"), Path::new("k6/celebrity.js"), &Line::parse_from(line).request);
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["run", "--no-usage-report", "k6/celebrity.js", "--quiet"]);
        let mut settings: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?))).collect();
        settings.sort_unstable();
        assert_eq!(settings, [("BASE_URL", "http://127.0.0.1:8000"), ("DURATION", "30"), ("SEED", "7")]);
    }
}
