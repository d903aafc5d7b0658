//! Defines the options of a lab, and starts its processes by them.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::cgroup::Cgroup;
use crate::parts::{READY_WITHIN, alive};
use crate::ports::Ports;
use crate::process::{Log, Process};
use crate::signals;

/// An environment variable and its value. The last value of a variable counts.
pub type Setting = (&'static str, String);

/// Options for starting a lab.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder with the lab's binaries.
    pub programs: PathBuf,
    /// The ports of the parts. `None` gives each part a free port.
    pub ports: Option<Ports>,
    /// The folder of the parts' logs. `None` means unnamed log files.
    pub logs: Option<PathBuf>,
    /// Whether the parts inherit this process's environment. A measured run must not inherit settings.
    pub inherit: bool,
    /// Runs the shards in a cgroup of this name. Without the required rights they run in the current cgroup.
    pub cgroup: Option<&'static str>,
    /// Settings of every shard.
    pub shard: Vec<Setting>,
    /// Settings of the gateway.
    pub gateway: Vec<Setting>,
    /// Settings of the probe. `None` starts no probe.
    pub probe: Option<Probe>,
    /// Settings of the live page's scenario starter. `None` starts none.
    pub scenarios: Option<Vec<Setting>>,
}

/// Options for starting the probe.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// Settings of the probe.
    pub settings: Vec<Setting>,
    /// The command line of a guard, without the program that it runs.
    ///
    /// With a guard, settings become command-line options, because sudo does not pass environment variables.
    pub guard: Vec<OsString>,
}

impl Options {
    /// The cgroup of the watched processes, if there is to be one and it can be made.
    pub(crate) fn cgroup(&self) -> Option<Cgroup> {
        let name = self.cgroup?;
        Cgroup::create(name)
            .inspect_err(|error| {
                println!(
                    "The shards have no cgroup of their own ({error:#}). The probe watches the root cgroup."
                );
            })
            .ok()
    }

    /// Starts a probe with these arguments and settings. `None` if the options have no probe.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start_probe(
        &self,
        arguments: &[&str],
        of_lab: Vec<Setting>,
        cgroup: Option<&Cgroup>,
    ) -> Result<Option<Process>> {
        let Some(Probe { settings, guard }) = &self.probe else { return Ok(None) };
        let port = self.ports.map_or(0, Ports::probe);
        let mut all = of_lab;
        all.push(("PORT", port.to_string()));
        all.extend(cgroup.map(|cgroup| ("CGROUP", cgroup.path().display().to_string())));
        all.extend(settings.iter().cloned());
        if guard.is_empty() {
            let mut command = self.program("probe", &all);
            command.args(arguments);
            return self.started("probe", command, port).map(Some);
        }
        let mut command = self.command(Command::new(&guard[0]));
        command.args(&guard[1..]).arg(self.programs.join("probe")).args(arguments).args(options_of(&all));
        let mut probe = Process::start_guarded("probe", command, self.log("probe")?)?;
        listening(&mut probe, port)?;
        Ok(Some(probe))
    }

    pub(crate) fn command(&self, mut command: Command) -> Command {
        if !self.inherit {
            let path = std::env::var_os("PATH").unwrap_or_default();
            command.env_clear().env("PATH", path).env("LOG_FORMAT", "json");
        }
        command
    }

    pub(crate) fn program(&self, name: &str, settings: &[Setting]) -> Command {
        let mut command = self.command(Command::new(self.programs.join(name)));
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn log(&self, name: &str) -> Result<Log> {
        match &self.logs {
            Some(folder) => Log::at(folder.join(format!("{name}.log"))),
            None => Log::unnamed(),
        }
    }

    pub(crate) fn started(&self, name: &str, command: Command, port: u16) -> Result<Process> {
        let mut process = Process::start(name, command, self.log(name)?)?;
        listening(&mut process, port)?;
        Ok(process)
    }
}

/// Records that `process` listens on `port`. If `port` is 0, waits until the process reports its address.
fn listening(process: &mut Process, port: u16) -> Result<()> {
    if port != 0 {
        process.listens_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        return Ok(());
    }
    let address = signals::poll(READY_WITHIN, Duration::from_millis(5), || {
        let address = process.address().ok();
        if address.is_none() {
            alive(process)?;
        }
        Ok(address)
    })?;
    match address {
        Some(address) => process.listens_at(address),
        None => bail!(
            "{} did not start within {} s; {}",
            process.name(),
            READY_WITHIN.as_secs(),
            process.last_words()
        ),
    }
    Ok(())
}

/// Converts settings to command-line options. The last value of a variable counts.
fn options_of(settings: &[Setting]) -> Vec<String> {
    let later = |at: usize, name: &str| settings[at + 1..].iter().any(|(other, _)| *other == name);
    let last = settings.iter().enumerate().filter(|(at, (name, _))| !later(*at, name));
    last.flat_map(|(_, (name, value))| {
        [format!("--{}", name.to_lowercase().replace('_', "-")), value.clone()]
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::options_of;

    #[test]
    fn settings_become_options_and_the_later_value_holds() {
        let settings =
            [("SHARD_URLS", "a".to_owned()), ("PORT", "1".to_owned()), ("SHARD_URLS", "b".to_owned())];
        assert_eq!(options_of(&settings), ["--port", "1", "--shard-urls", "b"]);
    }
}
