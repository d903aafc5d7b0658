//! A lab without its capacity model, under the load generator at full speed.

use anyhow::{Context as _, Result, bail};
use lab::http::Client;
use lab::process::Process;
use lab::{Lab, Options, Setting};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine::{OWN, cpu_seconds};
use crate::pair::Speed;

/// Connections of the generator. Each has one request in flight.
pub(crate) const CONNECTIONS: u32 = 64;

/// More keys than a CPU's caches can hold counts of. With the same rate for each, this is the highest cost of counting
/// by key.
pub(crate) const KEYS: u32 = 20_000;

/// The path of the requests, and their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrafficPath {
    /// Directly to the first shard, where nothing hides the measured cost; [`KEYS`], uniform.
    Shard,
    /// Through the gateway to all shards; [`KEYS`], uniform.
    Gateway,
    /// Through the gateway, with the keys of the lab's scenario `zipfian`.
    GatewayZipfian,
}

/// A running lab.
pub(crate) struct Testbed {
    /// Its processes.
    pub(crate) lab: Lab,
    pub(crate) client: Client,
    programs: PathBuf,
}

impl Testbed {
    /// Starts `shard` and `gateway` from the folder `programs`, with these settings for both. In `cgroup` there are only
    /// the shards.
    pub(crate) fn start(programs: &Path, settings: &[Setting], cgroup: Option<&'static str>) -> Result<Self> {
        let unlimited = ["BASE_LATENCY_MS", "LOAD_LATENCY_FACTOR_MS", "SHARD_CONCURRENCY"];
        let shard = unlimited.map(|name| (name, "0".to_owned()));
        let options = Options {
            programs: programs.to_owned(),
            cgroup,
            shard: [&shard, settings].concat(),
            gateway: settings.to_vec(),
            ..Options::default()
        };
        Ok(Self { lab: Lab::start(options)?, client: Client::default(), programs: programs.to_owned() })
    }

    /// Returns the shards' ports, by id.
    pub(crate) fn ports(&self) -> Result<Vec<u16>> {
        self.lab.shards.iter().map(|shard| Ok(shard.address()?.port())).collect()
    }

    /// Starts a probe of the shards. The caller ends it.
    pub(crate) fn start_probe(&mut self, settings: Vec<Setting>) -> Result<Process> {
        self.lab.set_probe(settings);
        self.lab.start_probe()?;
        self.lab.probe.take().context("the lab has no probe")
    }

    /// Returns the CPU seconds of gateway and shards so far.
    pub(crate) fn servers_cpu(&self) -> f64 {
        self.lab.parts().map(|part| cpu_seconds(part.pid(), OWN)).sum()
    }

    /// Sends requests as fast as they are answered. `seed` determines the keys. `cpu` returns the CPU seconds that count.
    pub(crate) fn saturate(
        &self,
        path: TrafficPath,
        requests: u64,
        seed: u64,
        cpu: impl Fn() -> f64,
    ) -> Result<Speed> {
        let (part, option) = match path {
            TrafficPath::Shard => (self.lab.shards.first().context("no shard")?, "--shard-urls"),
            TrafficPath::Gateway | TrafficPath::GatewayZipfian => (&self.lab.gateway, "--gateway"),
        };
        let (keys, distribution) = match path {
            TrafficPath::Shard | TrafficPath::Gateway => (KEYS, "uniform"),
            TrafficPath::GatewayZipfian => (1_000, "zipf:1.5"),
        };
        let mut load = Command::new(self.programs.join("load"));
        load.args(["saturate", "--json", "-", option, &format!("http://{}", part.address()?)])
            .args(["--connections", &CONNECTIONS.to_string(), "--keys", &keys.to_string()])
            .args(["--distribution", distribution])
            .args(["--requests", &requests.to_string(), "--seed", &seed.to_string()])
            .stdin(Stdio::null());
        let before = cpu();
        let output = load.output().context("the load generator cannot be run")?;
        #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^53 requests")]
        let cpu_microseconds = (cpu() - before) * 1e6 / requests as f64;
        if !output.status.success() {
            bail!("the load generator: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let report: Value = serde_json::from_slice(&output.stdout)?;
        if report["errors"] != 0 || report["answered"] != requests {
            bail!("of {requests} requests {} were answered, {} failed", report["answered"], report["errors"]);
        }
        let per_second = report["achieved_per_second"].as_f64();
        Ok(Speed { per_second: per_second.context("no rate in the generator's report")?, cpu_microseconds })
    }
}
