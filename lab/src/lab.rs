//! Starts and stops the lab: shards, gateway and probe.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cgroup::Cgroup;
use crate::http::Client;
use crate::ports::{Ports, SHARDS};
use crate::process::{Log, Process};
use crate::signals;

/// An environment variable and its value. The last value of a variable counts.
pub type Setting = (&'static str, String);

/// Maximum time for a part to report its address, and for all parts to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Maximum time for a part to drain: its own limit of 10 s and a reserve.
const DRAIN_WITHIN: Duration = Duration::from_secs(13);

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

/// A running lab. Dropping it kills all remaining processes.
#[derive(Debug)]
pub struct Lab {
    /// The gateway.
    pub gateway: Process,
    /// The shards, by id.
    pub shards: Vec<Process>,
    /// The probe, if it runs.
    pub probe: Option<Process>,
    /// The live page's scenario starter, if it runs.
    pub scenarios: Option<Process>,
    options: Options,
    // Dropped last, after its processes have ended.
    cgroup: Option<Cgroup>,
}

impl Lab {
    /// Starts all parts. With given ports they may not be ready yet.
    ///
    /// # Errors
    /// When a port is in use or a program cannot be started.
    pub fn start(options: Options) -> Result<Self> {
        if let Some(ports) = options.ports {
            ports.check(options.probe.is_some())?;
        }
        let cgroup = options.cgroup.and_then(|name| {
            Cgroup::create(name)
                .inspect_err(|error| {
                    println!("The shards have no cgroup of their own ({error:#}). The probe watches the root cgroup.");
                })
                .ok()
        });
        let shards =
            (0..SHARDS).map(|id| shard(&options, cgroup.as_ref(), id, None)).collect::<Result<Vec<_>>>()?;
        let mut lab = Self {
            gateway: gateway(&options, &shards)?,
            shards,
            probe: None,
            scenarios: None,
            options,
            cgroup,
        };
        lab.start_probe()?;
        if let Some(settings) = &lab.options.scenarios {
            let mut scenarios = lab.options.program("load", settings);
            let gateway = format!("http://{}", lab.gateway.address()?);
            let port = lab.options.ports.map_or(0, Ports::scenarios);
            scenarios.arg("serve").env("PORT", port.to_string()).env("GATEWAY", gateway);
            lab.scenarios = Some(lab.options.started("scenarios", scenarios, port)?);
        }
        Ok(lab)
    }

    /// Starts another probe with the probe options of this lab.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_probe(&mut self) -> Result<()> {
        let Some(Probe { settings, guard }) = &self.options.probe else { return Ok(()) };
        let port = self.options.ports.map_or(0, Ports::probe);
        let mut all: Vec<Setting> = vec![
            ("PORT", port.to_string()),
            ("SHARD_URLS", urls(&self.shards)?),
            ("GATEWAY_URL", format!("http://{}", self.gateway.address()?)),
        ];
        all.extend(self.cgroup.iter().map(|cgroup| ("CGROUP", cgroup.path().display().to_string())));
        all.extend(settings.iter().cloned());
        let probe = if guard.is_empty() {
            let mut command = self.options.program("probe", &all);
            command.arg("run");
            self.options.started("probe", command, port)?
        } else {
            let mut command = self.options.command(Command::new(&guard[0]));
            command
                .args(&guard[1..])
                .arg(self.options.programs.join("probe"))
                .arg("run")
                .args(options_of(&all));
            let mut probe = Process::start_guarded("probe", command, self.options.log("probe")?)?;
            listening(&mut probe, port)?;
            probe
        };
        self.probe = Some(probe);
        Ok(())
    }

    /// Replaces the settings for probes that start later.
    pub fn set_probe(&mut self, settings: Vec<Setting>) {
        self.options.probe.get_or_insert_default().settings = settings;
    }

    /// Starts another gateway in front of the same shards.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_gateway(&self) -> Result<Process> {
        gateway(&self.options, &self.shards)
    }

    /// Restarts a shard that has ended, on the same port.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_shard(&mut self, id: usize) -> Result<()> {
        let port = self.shards[id].address()?.port();
        let number = u16::try_from(id).context("a shard's id")?;
        self.shards[id] = shard(&self.options, self.cgroup.as_ref(), number, Some(port))?;
        Ok(())
    }

    /// Waits until every part is ready. `show` gets the number of parts and the names of the parts that are not
    /// ready.
    ///
    /// # Errors
    /// When a part ends or is not ready in time. The error has the part's last log lines.
    pub fn wait_ready(&mut self, client: &Client, mut show: impl FnMut(usize, &[&str])) -> Result<()> {
        let addresses = self.parts().map(|part| Ok((part.name().to_owned(), part.address()?)));
        let mut waiting = addresses.collect::<Result<Vec<_>>>()?;
        let all = waiting.len();
        let ready = signals::poll(READY_WITHIN, Duration::from_millis(50), || {
            self.check()?;
            waiting.retain(|(_, address)| !client.is_ok(&format!("http://{address}/ready")));
            show(all, &waiting.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
            Ok(waiting.is_empty().then_some(()))
        })?;
        if ready.is_some() {
            return Ok(());
        }
        let late = waiting.first().map_or("a part", |(name, _)| name);
        let words = self.parts().find(|part| part.name() == late).map(Process::last_words);
        bail!("{late} was not ready within {} s; {}", READY_WITHIN.as_secs(), words.unwrap_or_default());
    }

    /// Checks that all parts are running.
    ///
    /// # Errors
    /// When a part has ended. The error has its name, its exit status and its last log lines.
    pub fn check(&mut self) -> Result<()> {
        self.parts_mut().into_iter().try_for_each(alive)
    }

    /// Stops scenario starter, gateway, shards and probe in this order, each with time to drain.
    ///
    /// A signal during the stop kills the remaining processes. Returns the names of the processes that were killed.
    pub fn stop(mut self) -> Vec<String> {
        let signals_before = signals::received();
        let mut killed = Vec::new();
        for stage in ["scenarios", "gateway", "shard", "probe"] {
            let mut parts = self.parts_mut();
            parts.retain(|part| part.name().starts_with(stage));
            parts.iter_mut().for_each(|part| part.terminate());
            let deadline = Instant::now() + DRAIN_WITHIN;
            while parts.iter_mut().any(|part| part.is_running()) {
                if Instant::now() >= deadline || signals::received() > signals_before {
                    for part in &mut parts {
                        if part.is_running() {
                            killed.push(part.name().to_owned());
                            part.kill();
                        }
                    }
                }
                signals::pause(Duration::from_millis(20));
            }
        }
        killed
    }

    /// All parts that were started.
    pub fn parts(&self) -> impl Iterator<Item = &Process> {
        [&self.gateway].into_iter().chain(&self.shards).chain(&self.probe).chain(&self.scenarios)
    }

    /// Like [`parts`](Self::parts), but mutable.
    pub fn parts_mut(&mut self) -> Vec<&mut Process> {
        let first = [&mut self.gateway].into_iter();
        first.chain(&mut self.shards).chain(&mut self.probe).chain(&mut self.scenarios).collect()
    }
}

impl Options {
    fn command(&self, mut command: Command) -> Command {
        if !self.inherit {
            let path = std::env::var_os("PATH").unwrap_or_default();
            command.env_clear().env("PATH", path).env("LOG_FORMAT", "json");
        }
        command
    }

    fn program(&self, name: &str, settings: &[Setting]) -> Command {
        let mut command = self.command(Command::new(self.programs.join(name)));
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        command
    }

    fn log(&self, name: &str) -> Result<Log> {
        match &self.logs {
            Some(folder) => Log::at(folder.join(format!("{name}.log"))),
            None => Log::unnamed(),
        }
    }

    fn started(&self, name: &str, command: Command, port: u16) -> Result<Process> {
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

fn alive(part: &mut Process) -> Result<()> {
    match part.exit_status() {
        None => Ok(()),
        Some(status) => {
            bail!(
                "{} exited unexpectedly ({}); {}",
                part.name(),
                crate::command::ended(status),
                part.last_words()
            )
        }
    }
}

fn shard(options: &Options, cgroup: Option<&Cgroup>, id: u16, port: Option<u16>) -> Result<Process> {
    let port = port.or_else(|| Some(options.ports?.shard(id))).unwrap_or(0);
    let mut command = options.program("shard", &options.shard);
    command.env("SHARD_ID", id.to_string()).env("PORT", port.to_string());
    if let Some(cgroup) = cgroup {
        cgroup.enter(&mut command).context("a shard cannot be moved into its cgroup")?;
    }
    options.started(&format!("shard-{id}"), command, port)
}

fn gateway(options: &Options, shards: &[Process]) -> Result<Process> {
    let port = options.ports.map_or(0, Ports::gateway);
    let mut command = options.program("gateway", &options.gateway);
    command.env("PORT", port.to_string()).env("SHARD_URLS", urls(shards)?);
    options.started("gateway", command, port)
}

/// The shards' addresses by id, in the format that gateway and probe expect.
fn urls(shards: &[Process]) -> Result<String> {
    let urls = shards.iter().map(|shard| Ok(format!("http://{}", shard.address()?)));
    Ok(urls.collect::<Result<Vec<_>>>()?.join(","))
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
