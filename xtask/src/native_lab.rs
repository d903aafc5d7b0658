//! The lab on this machine, as `up`, `demo` and `runbook` start it.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::command;
use lab::http::Client;
use lab::ports::{Ports, url};
use lab::tree::Tree;
use lab::{Lab, Options, Probe, Setting};

use crate::cargo::cargo;
use crate::kernel::Access;
use crate::step::{Running, Step};
use crate::terminal::Progress;

/// The lab profile: a shard slow and narrow enough that a hot one hurts.
const PROFILE: [(&str, &str); 2] = [("BASE_LATENCY_MS", "15"), ("SHARD_CONCURRENCY", "2")];

/// The name of the shards' cgroup.
const CGROUP: &str = "hot-partition-lab-shards";

/// What of the programs is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    /// Everything.
    All,
    /// What the demo needs: no OTLP, no Kubernetes, no terminal view.
    Demo,
}

/// Begins to build the programs of the lab; the probe only `with_probe`.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn build(tree: &Tree, parts: Parts, with_probe: bool) -> Result<Running> {
    let mut command = cargo(tree);
    command.args(["build", "--release", "-p", "gateway", "-p", "shard", "-p", "load"]);
    if with_probe {
        command.args(["-p", "probe"]);
    }
    if parts == Parts::Demo {
        command.arg("--no-default-features");
    }
    Step::new("compiling the lab", 200).start(tree, &mut command)
}

/// The options of a lab for a person, who can set everything and start scenarios on the live page.
///
/// # Errors
/// When this program's own path cannot be told.
pub(crate) fn interactive(tree: &Tree, ports: Ports, access: &Access) -> Result<Options> {
    let origins = format!("http://localhost:{0},http://127.0.0.1:{0}", ports.probe());
    let mut options = measured(tree, ports, access)?;
    options.inherit = true;
    // The cgroup of the lab ends with it; counting that is to outlive the lab needs another.
    if env::var_os("CGROUP").is_some() || env::var_os("PIN").is_some() {
        options.cgroup = None;
    }
    if let Some(probe) = &mut options.probe {
        probe.settings.push(("PAGE_SCENARIOS_URL", url(ports.scenarios())));
        options.scenarios = Some(vec![("ADMIN_ORIGINS", origins)]);
    }
    Ok(options)
}

/// The options of a lab for figures, which the caller's environment must not change.
///
/// # Errors
/// When this program's own path cannot be told.
pub(crate) fn measured(tree: &Tree, ports: Ports, access: &Access) -> Result<Options> {
    let origins = format!("http://localhost:{0},http://127.0.0.1:{0}", ports.probe());
    let gateway: Vec<Setting> =
        vec![("PROBE_PAGE_URL", format!("{}/", url(ports.probe()))), ("ADMIN_ORIGINS", origins)];
    Ok(Options {
        programs: tree.target.join("release"),
        ports: Some(ports),
        logs: Some(logs(tree, ports)),
        cgroup: (*access == Access::Direct && command::is_root()).then_some(CGROUP),
        shard: PROFILE.map(|(name, value)| (name, value.to_owned())).to_vec(),
        gateway,
        probe: guard(access)?.map(|guard| Probe { settings: Vec::new(), guard }),
        ..Options::default()
    })
}

/// The command line of the probe's guard, if the probe may run.
fn guard(access: &Access) -> Result<Option<Vec<OsString>>> {
    let sudo: &[&str] = match access {
        Access::None(_) => return Ok(None),
        Access::Direct => &[],
        Access::Sudo => &["sudo", "-n", "--"],
    };
    let xtask = env::current_exe().context("cannot tell this program's own path")?;
    let mut guard: Vec<OsString> = sudo.iter().map(Into::into).collect();
    guard.extend([xtask.into(), "guard".into(), "--".into()]);
    Ok(Some(guard))
}

/// Starts a lab and waits until it is ready.
///
/// # Errors
/// When a port is taken, or a part does not start.
pub(crate) fn start(options: Options, client: &Client) -> Result<Lab> {
    let mut lab = Lab::start(options)?;
    let mut progress = Progress::new();
    lab.wait_ready(client, |all, waiting| {
        if progress.elapsed() > Duration::from_secs(1) {
            let ready = all - waiting.len();
            progress.show(&format!("{ready} of {all} ready, waiting for {}", waiting.join(", ")));
        }
    })?;
    Ok(lab)
}

/// Where the logs of the lab on `ports` go: labs on other ports do not overwrite them.
pub(crate) fn logs(tree: &Tree, ports: Ports) -> PathBuf {
    let folder = tree.target.join("lab");
    if ports.are_default() { folder } else { folder.join(ports.base().to_string()) }
}
