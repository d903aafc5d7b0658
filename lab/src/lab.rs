//! Starts and stops the lab: shards, gateway and probe.

use anyhow::{Context as _, Result};

use crate::cgroup::Cgroup;
use crate::http::Client;
use crate::options::{Options, Setting};
use crate::parts;
use crate::ports::{Ports, SHARDS};
use crate::process::Process;
use crate::prometheus::Targets;

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
        let cgroup = options.cgroup();
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
        let settings: Vec<Setting> = vec![
            ("SHARD_URLS", urls(&self.shards)?),
            ("GATEWAY_URL", format!("http://{}", self.gateway.address()?)),
        ];
        if let Some(probe) = self.options.start_probe(&["run"], settings, self.cgroup.as_ref())? {
            self.probe = Some(probe);
        }
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
    pub fn wait_ready(&mut self, client: &Client, show: impl FnMut(usize, &[&str])) -> Result<()> {
        parts::wait_ready(self.parts_mut(), client, show)
    }

    /// Checks that all parts are running.
    ///
    /// # Errors
    /// When a part has ended. The error has its name, its exit status and its last log lines.
    pub fn check(&mut self) -> Result<()> {
        self.parts_mut().into_iter().try_for_each(parts::alive)
    }

    /// Stops scenario starter, gateway, shards and probe in this order, each with time to drain.
    ///
    /// A signal during the stop kills the remaining processes. Returns the names of the processes that were killed.
    pub fn stop(mut self) -> Vec<String> {
        parts::stop(self.parts_mut(), &["scenarios", "gateway", "shard", "probe"])
    }

    /// The addresses that Prometheus scrapes.
    ///
    /// # Errors
    /// When a part has not reported its address yet.
    pub fn targets(&self) -> Result<Targets> {
        Ok(Targets {
            gateway: Some(self.gateway.address()?),
            shards: self.shards.iter().map(Process::address).collect::<Result<_>>()?,
            probe: self.probe.as_ref().map(Process::address).transpose()?,
        })
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
