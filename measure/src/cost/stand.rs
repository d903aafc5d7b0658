//! Four shards without a capacity model and a gateway, and the load generator: straight on the first shard, where nothing
//! hides what is measured, or on the gateway, as the lab is used.

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::runtime::Runtime;

use super::Options;
use super::generator::{ALIKE, ZIPFIAN, saturate, saturate_by_k6};
use super::pairs::Speed;
use ::lab::cgroup::Cgroup;
use lab_tests::lab::{self, SHARDS};
use lab_tests::process::{Process, Signal, TestProcess as _};

/// How long a process may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// To the first shard.
    Straight,
    /// To the gateway, and from there to all four.
    Gateway,
    /// The same with the keys of the lab's scenario `zipfian` instead of many that are read alike.
    Lab,
    /// The same asked for by k6.
    K6,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Straight, Self::Gateway, Self::Lab, Self::K6];

    /// Those that the lab's own generator asks.
    pub const OF_OWN_GENERATOR: [Self; 3] = [Self::Straight, Self::Gateway, Self::Lab];

    /// As tables say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Straight => "directly on one shard",
            Self::Gateway => "through the gateway",
            Self::Lab => "through the gateway, the lab's keys",
            Self::K6 => "through the gateway by k6, the lab's keys",
        }
    }
}

/// Running shards, and their gateway.
pub struct Stand {
    /// Waits and HTTP calls run on it.
    pub runtime: Runtime,
    programs: PathBuf,
    k6: Option<PathBuf>,
    client: reqwest::Client,
    addrs: Vec<SocketAddr>,
    gateway_addr: SocketAddr,
    gateway: Process,
    // They end with it, before their cgroup.
    shards: Vec<Process>,
    shards_cgroup: Result<Cgroup, String>,
}

impl Stand {
    /// Starts the shards and the gateway; the shards in a cgroup with this in its name.
    ///
    /// # Errors
    /// When a program is not there, or no runtime can be had.
    pub fn start(options: &Options, name: &str) -> Result<Self> {
        let Options { programs, k6, .. } = options;
        for program in ["shard", "gateway", "load", "probe"] {
            let path = programs.join(program);
            if !path.is_file() {
                bail!("{} is not there: `cargo xtask bench cost` builds it", path.display());
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shards_cgroup =
            Cgroup::create(&format!("hot-partition-lab-{name}")).map_err(|error| format!("{error:#}"));
        let cgroup = shards_cgroup.as_ref().ok();
        let mut shards: Vec<Process> = (0..SHARDS).map(|id| shard(cgroup, programs, id)).collect();
        let addrs: Vec<SocketAddr> = shards.iter_mut().map(|shard| runtime.block_on(shard.ready())).collect();
        let (gateway, gateway_addr) = gateway(&runtime, programs, &addrs);
        let (programs, k6, client) = (programs.clone(), k6.clone(), lab::client());
        Ok(Self { runtime, programs, k6, client, addrs, gateway_addr, gateway, shards, shards_cgroup })
    }

    /// Puts a new gateway in the place of the one there is: it has no connections to the shards yet.
    pub fn renew_gateway(&mut self) {
        (self.gateway, self.gateway_addr) = gateway(&self.runtime, &self.programs, &self.addrs);
    }

    /// The path of a program of the lab.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The shards' ports, by id.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.addrs.iter().map(SocketAddr::port).collect()
    }

    /// The cgroup that the shards are in, and nothing else.
    ///
    /// # Errors
    /// When none could be made.
    pub fn shards_cgroup(&self) -> Result<&Path> {
        self.shards_cgroup.as_ref().map(Cgroup::path).map_err(|why| anyhow!("{why}"))
    }

    /// The shards' addresses, as `SHARD_URLS` wants them.
    #[must_use]
    pub fn urls(&self) -> String {
        urls(&self.addrs)
    }

    /// Three runs each way, so that the keys are known to the shard and the processor is awake.
    ///
    /// # Errors
    /// As for [`saturate`](Self::saturate).
    pub fn warm_up(&self, requests: u64) -> Result<()> {
        for way in Way::OF_OWN_GENERATOR {
            for seed in 0..3 {
                self.saturate(way, requests, seed)?;
            }
        }
        Ok(())
    }

    /// Sends so many requests as fast as they are answered, of keys that `seed` determines.
    ///
    /// # Errors
    /// When the generator fails, or one request does.
    pub fn saturate(&self, way: Way, requests: u64, seed: u64) -> Result<Speed> {
        self.saturate_beside(way, requests, None, seed)
    }

    /// The same beside a process whose CPU time counts too.
    ///
    /// # Errors
    /// As for [`saturate`](Self::saturate).
    pub fn saturate_beside(&self, way: Way, requests: u64, other: Option<u32>, seed: u64) -> Result<Speed> {
        let cpu = || {
            let servers = self.shards.iter().chain([&self.gateway]);
            let processes = servers.map(Process::pid).chain(other);
            // The generator has been waited for, and counts among this process's children. Not k6, whose start takes as much
            // as a thousand requests.
            let generator = if way == Way::K6 { 0.0 } else { cpu_seconds(std::process::id(), CHILDREN) };
            processes.map(|pid| cpu_seconds(pid, OWN)).sum::<f64>() + generator
        };
        let before = cpu();
        let per_second = self.generate(way, requests, seed)?;
        #[expect(clippy::cast_precision_loss, reason = "requests of a run are far below 2^53")]
        let cpu_microseconds = (cpu() - before) * 1e6 / requests as f64;
        Ok(Speed { per_second, cpu_microseconds })
    }

    fn generate(&self, way: Way, requests: u64, seed: u64) -> Result<f64> {
        let load = |option: &str, addr: &SocketAddr, draws| {
            saturate(&self.program("load"), [option, &format!("http://{addr}")], requests, draws, seed)
        };
        match way {
            Way::Straight => load("--shard-urls", self.addrs.first().context("no shard")?, ALIKE),
            Way::Gateway => load("--gateway", &self.gateway_addr, ALIKE),
            Way::Lab => load("--gateway", &self.gateway_addr, ZIPFIAN),
            Way::K6 => {
                let k6 = self.k6.as_deref().context("no k6")?;
                saturate_by_k6(k6, &format!("http://{}", self.gateway_addr), requests, seed)
            }
        }
    }

    /// Starts a probe of all four shards; gives it and its address.
    ///
    /// # Errors
    /// When it cannot run here; the text is what it finds.
    pub fn start_probe(&self, settings: &[(&'static str, &str)]) -> Result<(Process, SocketAddr)> {
        let program = self.program("probe");
        let check = Command::new(&program).args(["check", "--shard-urls", &self.urls()]).output()?;
        if !check.status.success() {
            bail!("the probe cannot run here: {}", String::from_utf8_lossy(&check.stdout).trim());
        }
        let mut all = vec![("PORT", "0".to_owned()), ("SHARD_URLS", self.urls())];
        all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut probe = Process::start_program(&program, &["run"], &all);
        let addr = self.runtime.block_on(probe.ready());
        Ok((probe, addr))
    }

    /// A JSON answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn json(&self, addr: SocketAddr, path: &str) -> Result<Value> {
        let url = format!("http://{addr}{path}");
        let answer = async { self.client.get(&url).send().await?.json().await };
        self.runtime.block_on(answer).with_context(|| format!("no answer to {path}"))
    }

    /// Lets this time pass.
    pub fn pause(&self, time: Duration) {
        // The timer wants the runtime about it already when it is made.
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Ends a process by a signal, and waits for it.
    pub fn end(&self, process: &mut Process, signal: Signal) {
        process.signal(signal);
        self.runtime.block_on(process.ended(PATIENCE));
    }
}

/// Places of user and system time in `/proc/PID/stat`, counted after the name: its own, its children's that have ended.
pub(crate) const OWN: [usize; 2] = [11, 12];
const CHILDREN: [usize; 2] = [13, 14];

/// Processor time in seconds, in steps of 10 ms; 0 of a process that is gone (`proc_pid_stat(5)`).
pub(crate) fn cpu_seconds(pid: u32, places: [usize; 2]) -> f64 {
    /// `USER_HZ`, the same on every architecture of today.
    const TICKS_A_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> =
        text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
    let ticks = places.iter().filter_map(|place| fields.get(*place)?.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_A_SECOND
}

fn urls(addrs: &[SocketAddr]) -> String {
    addrs.iter().map(|addr| format!("http://{addr}")).collect::<Vec<_>>().join(",")
}

fn gateway(runtime: &Runtime, programs: &Path, shards: &[SocketAddr]) -> (Process, SocketAddr) {
    let settings = [("PORT", "0".to_owned()), ("SHARD_URLS", urls(shards))];
    let mut gateway = Process::start_program(&programs.join("gateway"), &[], &settings);
    let addr = runtime.block_on(gateway.ready());
    (gateway, addr)
}

fn shard(cgroup: Option<&Cgroup>, programs: &Path, id: usize) -> Process {
    let settings = [
        ("SHARD_ID", id.to_string()),
        ("PORT", "0".to_owned()),
        ("BASE_LATENCY_MS", "0".to_owned()),
        ("LOAD_LATENCY_FACTOR_MS", "0".to_owned()),
        ("SHARD_CONCURRENCY", "0".to_owned()),
    ];
    Process::start_in(cgroup, &programs.join("shard"), &[], &settings)
}
