//! What a docker line of the runbook is without containers: one table, and how each is done.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::script::{Output, Running};
use crate::http::Client;
use crate::k6;
use crate::kernel::Access;
use crate::lab::{self, Lab, Options};
use crate::ports::{Ports, url};
use crate::tree::Tree;

/// Lines of each log that are shown, as `--tail=50` says.
const TAIL: usize = 50;

/// What is done for a docker line.
#[derive(Debug, PartialEq, Eq)]
enum Twin {
    /// Starts the lab; it may not be ready yet.
    Up,
    /// Stops it in order.
    Down,
    Restart,
    /// Lists its parts.
    List,
    /// The last lines of one part's log, or of all.
    Logs(Option<String>),
    /// Memory of each part.
    Memory,
    /// A load scenario.
    Load(String),
}

/// The table.
fn twin_of(line: &str) -> Option<Twin> {
    Some(match line {
        "docker compose up --build -d" => Twin::Up,
        "docker compose down -v --remove-orphans" => Twin::Down,
        "docker compose restart" => Twin::Restart,
        "docker compose ps" => Twin::List,
        "docker compose logs --tail=50" => Twin::Logs(None),
        "docker stats --no-stream" => Twin::Memory,
        line => {
            let service = line
                .strip_prefix("docker compose logs lab39-")
                .and_then(|rest| rest.strip_suffix(" --tail=50"));
            if let Some(service) = service {
                return Some(Twin::Logs(Some(service.trim_start_matches("api-").to_owned())));
            }
            let script = line.strip_prefix("docker compose run --rm lab39-k6 run /scripts/")?;
            Twin::Load(script.strip_suffix(".js")?.to_owned())
        }
    })
}

/// The lab without containers, and what loads it.
pub(super) struct Native<'a> {
    tree: &'a Tree,
    options: Options,
    lab: Option<Lab>,
    /// None where the native generator does it.
    k6: Option<PathBuf>,
    /// Of each load.
    seconds: u32,
}

impl<'a> Native<'a> {
    /// A lab that is not started yet.
    ///
    /// # Errors
    /// When a port is taken.
    pub(super) fn new(tree: &'a Tree, ports: Ports, access: Access, seconds: u32) -> Result<Self> {
        ports.check(!matches!(access, Access::None(_)))?;
        let options = Options { ports, access, inherit_settings: false, scenarios: false };
        Ok(Self { tree, options, lab: None, k6: k6::find(tree), seconds })
    }

    /// What loads it.
    pub(super) fn generator(&self) -> &'static str {
        if self.k6.is_some() { "k6" } else { "`load`, as there is no k6" }
    }

    pub(super) fn has_probe(&self) -> bool {
        !matches!(self.options.access, Access::None(_))
    }

    /// Does what `line` says.
    ///
    /// # Errors
    /// When the line has no twin, or the lab cannot be started.
    pub(super) fn run(&mut self, line: &str) -> Result<Output> {
        let Some(twin) = twin_of(line) else {
            bail!("`{line}` has no native twin in xtask/src/runbook/twin.rs")
        };
        let text = match twin {
            Twin::Up => self.up()?,
            Twin::Down => self.down(),
            Twin::Restart => self.down() + &self.up()?,
            Twin::List => self.rows(|_, port| format!("running, {}", url(port))),
            Twin::Memory => self.rows(|pid, _| format!("{} kB", resident(pid).unwrap_or_default())),
            Twin::Logs(part) => self.logs(part.as_deref()),
            Twin::Load(_) => bail!("`{line}` must be in a background block"),
        };
        Ok(Output::said(text))
    }

    /// Starts the load that `line` names.
    ///
    /// # Errors
    /// When it names none, or the generator cannot be started.
    pub(super) fn start(&self, line: &str, name: &str) -> Result<Running> {
        let Some(Twin::Load(scenario)) = twin_of(line) else { bail!("`{line}` is no load") };
        let gateway = url(self.options.ports.gateway());
        let command = match &self.k6 {
            Some(k6) => k6::short(self.tree, k6, &scenario, &gateway, self.seconds),
            None => {
                let mut load = Command::new(self.tree.release_binary("load"));
                load.args(["run", &scenario, "--json", "-", "--gateway", &gateway]);
                load.args(["--duration", &self.seconds.to_string()]);
                load
            }
        };
        Running::start(command, self.tree.target.join("runbook").join(format!("{name}.log")))
    }

    fn up(&mut self) -> Result<String> {
        if self.lab.is_none() {
            let mut lab = Lab::start(self.tree, &self.options)?;
            lab.wait_ready(&Client::new())?;
            self.lab = Some(lab);
        }
        Ok("started\n".to_owned())
    }

    /// Stops what runs.
    pub(super) fn down(&mut self) -> String {
        let killed = self.lab.take().map(Lab::stop).unwrap_or_default();
        if killed.is_empty() { "stopped\n".to_owned() } else { format!("killed: {}\n", killed.join(", ")) }
    }

    fn rows(&self, of: impl Fn(u32, u16) -> String) -> String {
        let mut text = String::new();
        for child in self.lab.iter().flat_map(Lab::children) {
            let service = if child.name() == "gateway" { "api-gateway" } else { child.name() };
            let port = self.lab.as_ref().map_or(0, |lab| lab.port(child.name()));
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{service:<12} {}", of(child.id(), port));
        }
        text
    }

    fn logs(&self, part: Option<&str>) -> String {
        let folder = lab::logs(self.tree, self.options.ports);
        let mut text = String::new();
        for child in self.lab.iter().flat_map(Lab::children) {
            if part.is_some_and(|part| part != child.name()) {
                continue;
            }
            let log = fs::read_to_string(folder.join(format!("{}.log", child.name()))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                let _ = writeln!(text, "{} | {line}", child.name());
            }
        }
        text
    }
}

/// Resident memory in kB; of the probe, which runs behind a guard, the guard's child's.
fn resident(pid: u32) -> Option<u64> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pid = children.split_whitespace().next().and_then(|child| child.parse().ok()).unwrap_or(pid);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Twin, twin_of};
    use crate::runbook::page;
    use crate::runbook::script::{Piece, pieces};

    #[test]
    fn every_docker_line_of_the_runbook_has_a_twin() {
        let blocks = page::blocks(include_str!("../../../docs/runbook.md")).unwrap();
        let mut lines = 0;
        for block in &blocks {
            for piece in pieces(&block.script) {
                if let Piece::Docker(line) = piece {
                    assert!(twin_of(&line).is_some(), "{}: {line}", block.name);
                    lines += 1;
                }
            }
        }
        assert!(lines >= 12, "{lines}");
    }

    #[test]
    fn services_and_scripts_are_read_from_their_lines() {
        let gateway = twin_of("docker compose logs lab39-api-gateway --tail=50");
        assert_eq!(gateway, Some(Twin::Logs(Some("gateway".into()))));
        let load = twin_of("docker compose run --rm lab39-k6 run /scripts/with-caching.js");
        assert_eq!(load, Some(Twin::Load("with-caching".into())));
        assert_eq!(twin_of("docker system prune -f"), None);
    }
}
