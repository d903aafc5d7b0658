//! Replaces the runbook's lines for a lab by native counterparts.

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
use lab::{Lab, Options, StoreLab, programs, store_lab};

/// Lines shown of each log. Equals the runbook's `--tail=50`.
const TAIL: usize = 50;

/// The native action for a line.
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
    /// Start a Redis Cluster in place of the lab.
    UpStore,
    /// Stop it.
    DownStore,
    /// Run a load scenario on it.
    LoadStore(String),
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
        "cargo xtask up --store redis" => Counterpart::UpStore,
        "cargo xtask down" => Counterpart::DownStore,
        line => {
            if let Some(load) = line.strip_prefix("cargo xtask load run ") {
                let scenario = load.strip_suffix(" --store redis://127.0.0.1:9000")?;
                return Some(Counterpart::LoadStore(scenario.to_owned()));
            }
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
    store: Option<StoreLab>,
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
        Ok(Self { tree, ports, options, lab: None, store: None, k6: lab::k6::find(tree), seconds })
    }

    /// The name of the load generator.
    pub(super) fn generator(&self) -> &'static str {
        if self.k6.is_some() { "k6" } else { "`load`, because k6 is not installed" }
    }

    pub(super) fn has_probe(&self) -> bool {
        self.options.probe.is_some()
    }

    /// Why no Redis Cluster can be started. `None` if it can.
    pub(super) fn lacks_store(&self) -> Option<&'static str> {
        if !self.has_probe() {
            return Some("no probe is running");
        }
        programs::find("redis-server").is_none().then_some(store_lab::REMEDY)
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
            Counterpart::UpStore => self.up_store()?,
            Counterpart::DownStore => self.down(),
            Counterpart::Load(_) | Counterpart::LoadStore(_) => {
                bail!("`{line}` must be in a background block")
            }
        };
        Ok(Output::printed(text))
    }

    /// Starts the load in `line`.
    ///
    /// # Errors
    /// When the line has no load, or the generator cannot be started.
    pub(super) fn start(&self, line: &str, name: &str) -> Result<Running> {
        let load = |scenario: &str, option: &str, target: &str| {
            let mut load = Command::new(self.tree.release_binary("load"));
            load.args(["run", scenario, "--json", "-", option, target]);
            load.args(["--duration", &self.seconds.to_string()]);
            load
        };
        let gateway = url(self.ports.gateway());
        let command = match (counterpart(line), &self.k6, &self.store) {
            (Some(Counterpart::Load(scenario)), Some(k6), _) => {
                k6::short(self.tree, k6, &scenario, &gateway, self.seconds)
            }
            (Some(Counterpart::Load(scenario)), None, _) => load(&scenario, "--gateway", &gateway),
            (Some(Counterpart::LoadStore(scenario)), _, Some(store)) => {
                load(&scenario, "--store", &store.url()?)
            }
            _ => bail!("`{line}` starts no load"),
        };
        Running::start(command, self.tree.target.join("runbook").join(format!("{name}.log")))
    }

    fn up(&mut self) -> Result<String> {
        if self.lab.is_none() {
            self.lab = Some(native_lab::start(self.options.clone(), &Client::default())?);
        }
        Ok("started\n".to_owned())
    }

    fn up_store(&mut self) -> Result<String> {
        self.down();
        let mut store = StoreLab::start(self.options.clone())?;
        store.wait_ready(&Client::default())?;
        self.store = Some(store);
        Ok("The Redis Cluster is running.\n".to_owned())
    }

    /// Stops what runs.
    pub(super) fn down(&mut self) -> String {
        let mut killed = self.lab.take().map(Lab::stop).unwrap_or_default();
        killed.extend(self.store.take().map(StoreLab::stop).unwrap_or_default());
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
    fn every_line_for_a_lab_in_the_runbook_has_a_counterpart() {
        let blocks = page::blocks(include_str!("../../../docs/runbook.md")).unwrap();
        let mut lines = 0;
        for block in &blocks {
            for piece in pieces(&block.script) {
                if let Piece::Lab(line) = piece {
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
        let load = counterpart("cargo xtask load run celebrity --store redis://127.0.0.1:9000");
        assert_eq!(load, Some(Counterpart::LoadStore("celebrity".into())));
        assert_eq!(counterpart("cargo xtask load run celebrity --store redis://127.0.0.1:6379"), None);
        assert_eq!(counterpart("docker system prune -f"), None);
    }
}
