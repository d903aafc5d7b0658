//! Replaces the runbook's docker lines by native counterparts.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::script::{Output, Running};
use crate::kernel::Access;
use crate::{k6, native_lab};
use lab::http::Client;
use lab::ports::{Ports, url};
use lab::process::Process;
use lab::tree::Tree;
use lab::{Lab, Options};

/// Lines shown of each log. Equals the runbook's `--tail=50`.
const TAIL: usize = 50;

/// The native action for a docker line.
#[derive(Debug, PartialEq, Eq)]
enum Counterpart {
    /// Start the lab without waiting until it is ready.
    Up,
    /// Stop the lab in order.
    Down,
    Restart,
    /// List the lab's parts.
    List,
    /// Show the last lines of one part's log, or of all logs.
    Logs(Option<String>),
    /// Show the memory of each part.
    Memory,
    /// Run a load scenario.
    Load(String),
}

/// The action for `line`. `None` if there is none.
fn counterpart(line: &str) -> Option<Counterpart> {
    Some(match line {
        "docker compose up --build -d" => Counterpart::Up,
        "docker compose down -v --remove-orphans" => Counterpart::Down,
        "docker compose restart" => Counterpart::Restart,
        "docker compose ps" => Counterpart::List,
        "docker compose logs --tail=50" => Counterpart::Logs(None),
        "docker stats --no-stream" => Counterpart::Memory,
        line => {
            let service = line
                .strip_prefix("docker compose logs lab39-")
                .and_then(|rest| rest.strip_suffix(" --tail=50"));
            if let Some(service) = service {
                return Some(Counterpart::Logs(Some(service.trim_start_matches("api-").to_owned())));
            }
            let script = line.strip_prefix("docker compose run --rm lab39-k6 run /scripts/")?;
            Counterpart::Load(script.strip_suffix(".js")?.to_owned())
        }
    })
}

/// The lab without containers, and its load generator.
pub(super) struct Native<'a> {
    tree: &'a Tree,
    ports: Ports,
    options: Options,
    lab: Option<Lab>,
    /// `None` if the native generator is used.
    k6: Option<PathBuf>,
    /// Seconds of each load.
    seconds: u32,
}

impl<'a> Native<'a> {
    /// Creates a lab that is not started yet.
    ///
    /// # Errors
    /// When a port is in use.
    pub(super) fn new(tree: &'a Tree, ports: Ports, access: &Access, seconds: u32) -> Result<Self> {
        ports.check(!matches!(access, Access::None(_)))?;
        let options = native_lab::measured(tree, ports, access)?;
        Ok(Self { tree, ports, options, lab: None, k6: lab::k6::find(tree), seconds })
    }

    /// The name of the load generator.
    pub(super) fn generator(&self) -> &'static str {
        if self.k6.is_some() { "k6" } else { "`load`, because k6 is not installed" }
    }

    pub(super) fn has_probe(&self) -> bool {
        self.options.probe.is_some()
    }

    /// Runs the native counterpart of `line`.
    ///
    /// # Errors
    /// When the line has no counterpart, or the lab cannot be started.
    pub(super) fn run(&mut self, line: &str) -> Result<Output> {
        let Some(found) = counterpart(line) else {
            bail!("`{line}` has no native counterpart in xtask/src/runbook/native.rs")
        };
        let text = match found {
            Counterpart::Up => self.up()?,
            Counterpart::Down => self.down(),
            Counterpart::Restart => self.down() + &self.up()?,
            Counterpart::List => self.rows(|part| match part.address() {
                Ok(address) => format!("running, http://{address}"),
                Err(_) => "running".to_owned(),
            }),
            Counterpart::Memory => {
                self.rows(|part| format!("{} kB", part.resident_bytes().unwrap_or_default() / 1024))
            }
            Counterpart::Logs(part) => self.logs(part.as_deref()),
            Counterpart::Load(_) => bail!("`{line}` must be in a background block"),
        };
        Ok(Output::printed(text))
    }

    /// Starts the load in `line`.
    ///
    /// # Errors
    /// When the line has no load, or the generator cannot be started.
    pub(super) fn start(&self, line: &str, name: &str) -> Result<Running> {
        let Some(Counterpart::Load(scenario)) = counterpart(line) else { bail!("`{line}` starts no load") };
        let gateway = url(self.ports.gateway());
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
            self.lab = Some(native_lab::start(self.options.clone(), &Client::default())?);
        }
        Ok("started\n".to_owned())
    }

    /// Stops the lab.
    pub(super) fn down(&mut self) -> String {
        let killed = self.lab.take().map(Lab::stop).unwrap_or_default();
        if killed.is_empty() { "stopped\n".to_owned() } else { format!("killed: {}\n", killed.join(", ")) }
    }

    fn rows(&self, of: impl Fn(&Process) -> String) -> String {
        let row = |part: &Process| {
            let service = if part.name() == "gateway" { "api-gateway" } else { part.name() };
            format!("{service:<12} {}\n", of(part))
        };
        self.lab.iter().flat_map(Lab::parts).map(row).collect()
    }

    fn logs(&self, part: Option<&str>) -> String {
        let mut text = String::new();
        for process in self.lab.iter().flat_map(Lab::parts) {
            if part.is_some_and(|part| part != process.name()) {
                continue;
            }
            let log = process.log();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                text.push_str(&format!("{} | {line}\n", process.name()));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Counterpart, counterpart};
    use crate::runbook::page;
    use crate::runbook::script::{Piece, pieces};

    #[test]
    fn every_docker_line_of_the_runbook_has_a_counterpart() {
        let blocks = page::blocks(include_str!("../../../docs/runbook.md")).unwrap();
        let mut lines = 0;
        for block in &blocks {
            for piece in pieces(&block.script) {
                if let Piece::Docker(line) = piece {
                    assert!(counterpart(&line).is_some(), "{}: {line}", block.name);
                    lines += 1;
                }
            }
        }
        assert!(lines >= 12, "{lines}");
    }

    #[test]
    fn services_and_scripts_are_read_from_their_lines() {
        let gateway = counterpart("docker compose logs lab39-api-gateway --tail=50");
        assert_eq!(gateway, Some(Counterpart::Logs(Some("gateway".into()))));
        let load = counterpart("docker compose run --rm lab39-k6 run /scripts/with-caching.js");
        assert_eq!(load, Some(Counterpart::Load("with-caching".into())));
        assert_eq!(counterpart("docker system prune -f"), None);
    }
}
