//! `cargo xtask openapi`: tests gateway, shard and probe against `docs/openapi/` with Schemathesis.
//!
//! It generates valid and invalid requests from the documents, and checks status, headers and body of each answer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use lab::Lab;
use lab::http::Client;
use lab::ports::{Ports, url};
use lab::process::{Log, Process};
use lab::signals;
use lab::tree::Tree;

use crate::kernel::Access;
use crate::native_lab::Parts;
use crate::outcome::CheckOutcome;
use crate::packages::Part;
use crate::terminal::{heading, mark};
use crate::{PortBase, native_lab, needs, python, up};

const VERSION: &str = "4.32.5";

/// Settings of Schemathesis, relative to the repository root.
const SETTINGS: &str = "xtask/src/openapi.toml";

/// Command-line options.
#[derive(Debug, Args)]
pub(crate) struct Request {
    /// Generated requests for each route, at most
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    max_examples: u32,
    /// Seed of the requests
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    ports: PortBase,
}

impl Request {
    /// The request of `cargo xtask ci`.
    pub(crate) fn of_ci(ports: PortBase, full: bool) -> Self {
        Self { max_examples: if full { 200 } else { 30 }, seed: 1, ports }
    }
}

/// Runs Schemathesis against a new lab under load.
///
/// # Errors
/// When the lab cannot be built or started.
pub(crate) fn run(tree: &Tree, request: &Request) -> Result<CheckOutcome> {
    needs::ensure(tree, &[Part::Build, Part::LoadTool])?;
    let tool = match python::install(tree, "schemathesis", VERSION, "schemathesis") {
        Ok(tool) => tool,
        Err(error) => {
            signals::check()?;
            return Ok(CheckOutcome::NotAll(format!("all requests: {error:#}")));
        }
    };
    let ports = request.ports.ports();
    ports.check(true)?;
    let access = up::prepare(tree, ports, Parts::Demo, true)?;
    let mut options = native_lab::measured(tree, ports, &access)?;
    // The documents promise no latency.
    options.shard = vec![("BASE_LATENCY_MS", "1".to_owned())];
    let mut lab = native_lab::start(options, &Client::default())?;
    let holds = test(tree, &tool, ports, &mut lab, request);
    lab.stop();
    match (holds?, access) {
        (true, Access::None(lacking)) => Ok(CheckOutcome::NotAll(format!("the probe: {}", lacking.banner()))),
        (holds, _) => Ok(holds.into()),
    }
}

/// Tests all services at the same time. Returns whether all answers were right.
fn test(tree: &Tree, tool: &Path, ports: Ports, lab: &mut Lab, request: &Request) -> Result<bool> {
    heading("Requests of Schemathesis");
    let mut load = Command::new(tree.release_binary("load"));
    load.args(["run", "celebrity", "--duration", "600", "--gateway", &url(ports.gateway())]);
    // It ends with this function.
    let _load = Process::start("load", load, Log::unnamed()?)?;
    let services = [("gateway", Some(ports.gateway())), ("shard", Some(ports.shard(0)))];
    let probe = ("probe", lab.probe.is_some().then(|| ports.probe()));
    let mut running = Vec::new();
    for (name, port) in services.into_iter().chain([probe]) {
        if let Some(port) = port {
            running.push(start(tree, tool, name, port, request)?);
        }
    }
    while running.iter_mut().any(|(_, process, _)| process.is_running()) {
        signals::check()?;
        lab.check()?;
        signals::pause(Duration::from_millis(100));
    }
    let mut holds = true;
    for (name, process, log) in &mut running {
        let passed = process.exit_status().is_some_and(|status| status.success());
        let output = process.log();
        if !passed {
            println!("{output}");
        }
        let summary = output.lines().find(|line| line.contains(" generated, ")).unwrap_or("no result");
        println!("{} {name}: {} ({})", mark(passed), summary.trim(), tree.shown(log));
        holds &= passed;
    }
    Ok(holds)
}

/// Starts a test of one service.
fn start(
    tree: &Tree,
    tool: &Path,
    name: &'static str,
    port: u16,
    request: &Request,
) -> Result<(&'static str, Process, PathBuf)> {
    let folder = tree.target.join("openapi");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = Command::new(tool);
    command
        .arg("--config-file")
        .arg(tree.root.join(SETTINGS))
        .arg("run")
        .arg(tree.root.join(format!("docs/openapi/{name}.json")))
        .args(["--url", &url(port), "--no-color", "--continue-on-failure", "--request-timeout", "10"])
        .args(["--max-examples", &request.max_examples.to_string(), "--seed", &request.seed.to_string()])
        // It keeps a data base of failures in its folder.
        .current_dir(&folder);
    let log = folder.join(format!("{name}.log"));
    let process = Process::start(name, command, Log::at(log.clone())?)?;
    Ok((name, process, log))
}
