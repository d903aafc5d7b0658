//! Starts the lab on this machine for `up`, `demo` and `runbook`.

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

/// The lab profile. It makes a shard so slow and narrow that a hot one shows higher latency.
const PROFILE: [(&str, &str); 2] = [("BASE_LATENCY_MS", "15"), ("SHARD_CONCURRENCY", "2")];

/// The name of the shards' cgroup.
const CGROUP: &str = "hot-partition-lab-shards";

/// The parts of the programs to compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    /// All features.
    All,
    /// Only the features that the demo needs: no OTLP, no Kubernetes, no terminal view, no store.
    Demo,
    /// Load generator and probe, for a store in place of the lab's own gateway and shards.
    Store,
}

/// Starts a build of the lab's programs. Includes the probe only if `with_probe` is set.
///
/// # Errors
/// When cargo cannot be started.
pub(crate) fn build(tree: &Tree, parts: Parts, with_probe: bool) -> Result<Running> {
    let mut command = cargo(tree);
    command.args(["build", "--release", "-p", "load"]);
    if parts != Parts::Store {
        command.args(["-p", "gateway", "-p", "shard"]);
    }
    if with_probe {
        command.args(["-p", "probe"]);
    }
    if parts == Parts::Demo {
        command.arg("--no-default-features");
    }
    Step::new("compiling the lab", 200).start(tree, &mut command)
}

/// Lab options for interactive use. The environment can change every setting, and the live page can start scenarios.
///
/// # Errors
/// When the path of this executable cannot be determined.
pub(crate) fn interactive(tree: &Tree, ports: Ports, access: &Access) -> Result<Options> {
    let origins = format!("http://localhost:{0},http://127.0.0.1:{0}", ports.probe());
    let mut options = of_user(tree, ports, access)?;
    if let Some(probe) = &mut options.probe {
        probe.settings.push(("PAGE_SCENARIOS_URL", url(ports.scenarios())));
        options.scenarios = Some(vec![("ADMIN_ORIGINS", origins)]);
    }
    Ok(options)
}

/// Lab options that the environment can change.
///
/// # Errors
/// When the path of this executable cannot be determined.
pub(crate) fn of_user(tree: &Tree, ports: Ports, access: &Access) -> Result<Options> {
    let mut options = measured(tree, ports, access)?;
    options.inherit = true;
    // The lab removes its own cgroup at the end. To keep counts beyond that, the user sets another cgroup.
    if env::var_os("CGROUP").is_some() || env::var_os("PIN").is_some() {
        options.cgroup = None;
    }
    Ok(options)
}

/// Lab options for measurements. The caller's environment has no effect on them.
///
/// # Errors
/// When the path of this executable cannot be determined.
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

/// The command line of the probe's guard. `None` if the probe may not run.
fn guard(access: &Access) -> Result<Option<Vec<OsString>>> {
    let sudo: &[&str] = match access {
        Access::None(_) => return Ok(None),
        Access::Direct => &[],
        Access::Sudo => &["sudo", "-n", "--"],
    };
    let xtask = env::current_exe().context("cannot determine this program's path")?;
    let mut guard: Vec<OsString> = sudo.iter().map(Into::into).collect();
    guard.extend([xtask.into(), "guard".into(), "--".into()]);
    Ok(Some(guard))
}

/// Starts a lab and waits until it is ready.
///
/// # Errors
/// When a port is in use, or a part of the lab does not start.
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

/// The log folder of the lab on `ports`. Each port range has its own folder.
pub(crate) fn logs(tree: &Tree, ports: Ports) -> PathBuf {
    let folder = tree.target.join("lab");
    if ports.are_default() { folder } else { folder.join(ports.base().to_string()) }
}
