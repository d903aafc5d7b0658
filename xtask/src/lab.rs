//! The lab on this machine: four shards, the gateway and the probe, started together and stopped in order.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::cgroup::Cgroup;
use crate::child::Child;
use crate::http::Client;
use crate::kernel::Access;
use crate::ports::{Ports, SHARDS, url};
use crate::process::{self, cargo};
use crate::signals;
use crate::terminal::Progress;
use crate::tree::Tree;

/// The lab profile: a shard slow and narrow enough that a hot one hurts.
const PROFILE: [(&str, &str); 2] = [("BASE_LATENCY_MS", "15"), ("SHARD_CONCURRENCY", "2")];

/// Settings of the lab's programs that a caller's environment may hold; a measured run must not inherit them.
const SETTINGS: [&str; 37] = [
    "ADMIN_ORIGINS",
    "BIND_ADDRESS",
    "BOUNDED_LOAD_EPSILON",
    "CACHE_ENABLED",
    "CACHE_MAX_BYTES",
    "CACHE_TTL_SECONDS",
    "CGROUP",
    "CONNECT_TIMEOUT_MS",
    "DRAIN_TIMEOUT_SECONDS",
    "KERNEL_LOG",
    "KEY_STATISTICS",
    "KUBERNETES_NAMESPACE",
    "KUBERNETES_SELECTOR",
    "LOAD_LATENCY_FACTOR_MS",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "NUM_SHARDS",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "PIN",
    "PLACEMENT",
    "PORT",
    "PROGRAM_STATS",
    "RTT",
    "SEED",
    "SHARD_MAX_BYTES",
    "SHARD_MAX_KEYS",
    "SHARD_QUEUE",
    "UPSTREAM_TIMEOUT_MS",
    "WORKERS",
];

/// How long everything may take to answer that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long a process may take to drain: its own limit of 10 s and some air.
const DRAIN_WITHIN: Duration = Duration::from_secs(13);

/// What kind of lab to start.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) ports: Ports,
    pub(crate) access: Access,
    /// Whether settings in the caller's environment reach the lab's programs.
    pub(crate) inherit_settings: bool,
    /// Whether the live page can start scenarios.
    pub(crate) scenarios: bool,
}

/// A running lab; dropping it kills what is left of it.
#[derive(Debug)]
pub(crate) struct Lab {
    ports: Ports,
    /// In the order in which they are stopped: scenario starter, gateway, shards, probe.
    children: Vec<Child>,
    // Dropped after all that is in it has ended.
    shards_cgroup: Option<Cgroup>,
}

/// Builds the programs of the lab for speed; the probe only `with_probe`.
///
/// # Errors
/// When cargo fails.
pub(crate) fn build(tree: &Tree, with_probe: bool) -> Result<()> {
    let mut command = cargo(tree);
    command.args(["build", "--release", "-p", "gateway", "-p", "shard", "-p", "load"]);
    if with_probe {
        command.args(["-p", "probe"]);
    }
    process::run(&mut command, "cargo build")
}

impl Lab {
    /// Starts everything; it may not be ready yet.
    ///
    /// # Errors
    /// When a port is taken or a program cannot be started.
    pub(crate) fn start(tree: &Tree, options: &Options) -> Result<Self> {
        let ports = options.ports;
        ports.check(!matches!(options.access, Access::None(_)))?;
        let logs = logs(tree, ports);
        let mut lab = Self { ports, children: Vec::new(), shards_cgroup: shards_cgroup(options) };
        let origins = format!("http://localhost:{0},http://127.0.0.1:{0}", ports.probe());
        let mut gateway = program(options, Command::new(tree.release_binary("gateway")));
        gateway
            .env("PORT", ports.gateway().to_string())
            .env("SHARD_URLS", ports.shard_urls())
            .env("PROBE_PAGE_URL", format!("{}/", url(ports.probe())))
            .env("ADMIN_ORIGINS", &origins);
        lab.children.push(Child::start("gateway", gateway, logs.join("gateway.log"))?);
        for id in 0..SHARDS {
            let mut shard = program(options, Command::new(tree.release_binary("shard")));
            shard.env("SHARD_ID", id.to_string()).env("PORT", ports.shard(id).to_string()).envs(PROFILE);
            if let Some(cgroup) = &lab.shards_cgroup {
                cgroup.enter(&mut shard).context("a shard cannot be put into its cgroup")?;
            }
            let name = format!("shard-{id}");
            lab.children.push(Child::start(&name, shard, logs.join(format!("{name}.log")))?);
        }
        if let Some(mut probe) = probe(tree, options)? {
            if let Some(cgroup) = &lab.shards_cgroup {
                probe.arg("--cgroup").arg(cgroup.path());
            }
            lab.children.push(Child::start_guarded("probe", probe, logs.join("probe.log"))?);
            if options.scenarios {
                let mut starter = program(options, Command::new(tree.release_binary("load")));
                starter
                    .arg("serve")
                    .env("PORT", ports.scenarios().to_string())
                    .env("GATEWAY", url(ports.gateway()))
                    .env("ADMIN_ORIGINS", &origins);
                lab.children.push(Child::start("scenarios", starter, logs.join("scenarios.log"))?);
            }
        }
        Ok(lab)
    }

    /// Waits until every part says that it is ready.
    ///
    /// # Errors
    /// When a part ends or is not ready in time; with its last lines.
    pub(crate) fn wait_ready(&mut self, client: &Client) -> Result<()> {
        let mut progress = Progress::new();
        let mut waiting: Vec<(String, u16)> =
            self.children.iter().map(|child| (child.name().to_owned(), self.port(child.name()))).collect();
        let all = waiting.len();
        let ready = signals::poll(READY_WITHIN, Duration::from_millis(50), || {
            self.check()?;
            waiting.retain(|(_, port)| !client.is_ok(&format!("{}/ready", url(*port))));
            let names: Vec<&str> = waiting.iter().map(|(name, _)| name.as_str()).collect();
            if progress.elapsed() > Duration::from_secs(1) {
                let ready = all - names.len();
                progress.show(&format!("{ready} of {all} ready, waiting for {}", names.join(", ")));
            }
            Ok(waiting.is_empty().then_some(()))
        })?;
        drop(progress);
        if ready.is_some() {
            return Ok(());
        }
        let late = waiting.first().map_or("nobody", |(name, _)| name.as_str());
        let words = self.children.iter().find(|child| child.name() == late).map(Child::last_words);
        bail!("{late} was not ready within {} s; {}", READY_WITHIN.as_secs(), words.unwrap_or_default());
    }

    /// Fails when a part has ended by itself.
    ///
    /// # Errors
    /// Naming the part and how it ended, with its last lines.
    pub(crate) fn check(&mut self) -> Result<()> {
        for child in &mut self.children {
            if let Some(ended) = child.ended().map(|end| end.how.clone()) {
                return Err(anyhow!("{} died ({ended}); {}", child.name(), child.last_words()));
            }
        }
        Ok(())
    }

    /// Stops scenario starter, gateway, shards and probe in this order, each given time to drain; a signal that arrives meanwhile
    /// ends what is left at once. Gives the names of those that had to be killed.
    pub(crate) fn stop(mut self) -> Vec<String> {
        let signals_before = signals::received();
        let mut killed = Vec::new();
        for stage in ["scenarios", "gateway", "shard", "probe"] {
            let mut members: Vec<&mut Child> =
                self.children.iter_mut().filter(|child| child.name().starts_with(stage)).collect();
            for child in &mut members {
                child.terminate();
            }
            let deadline = Instant::now() + DRAIN_WITHIN;
            while members.iter_mut().any(|child| child.ended().is_none()) {
                if Instant::now() >= deadline || signals::received() > signals_before {
                    for child in &mut members {
                        if child.ended().is_none() {
                            killed.push(child.name().to_owned());
                            child.kill();
                        }
                    }
                }
                signals::pause(Duration::from_millis(20));
            }
        }
        killed
    }

    pub(crate) fn children(&self) -> &[Child] {
        &self.children
    }

    /// Where the part of this name listens.
    pub(crate) fn port(&self, name: &str) -> u16 {
        match name.strip_prefix("shard-").and_then(|id| id.parse().ok()) {
            Some(id) => self.ports.shard(id),
            None if name == "probe" => self.ports.probe(),
            None if name == "scenarios" => self.ports.scenarios(),
            None => self.ports.gateway(),
        }
    }
}

/// Where the logs of the lab on `ports` go: labs on other ports do not overwrite them.
pub(crate) fn logs(tree: &Tree, ports: Ports) -> PathBuf {
    let folder = tree.target.join("lab");
    if ports.are_default() { folder } else { folder.join(ports.base().to_string()) }
}

fn program(options: &Options, mut command: Command) -> Command {
    if !options.inherit_settings {
        for name in SETTINGS {
            command.env_remove(name);
        }
    }
    command
}

/// A cgroup for the shards, for root: on it the probe takes less than on the root's, which it watches otherwise. Not
/// where another is named, nor where counting is to outlive the lab: it would end with this cgroup.
fn shards_cgroup(options: &Options) -> Option<Cgroup> {
    let is_set = |name| options.inherit_settings && env::var_os(name).is_some();
    if is_set("CGROUP") || is_set("PIN") || options.access != Access::Direct || !process::is_root() {
        return None;
    }
    Cgroup::create(options.ports)
        .inspect_err(|error| {
            println!("The shards get no cgroup of their own ({error}): the probe watches the root of all.");
        })
        .ok()
}

/// The probe behind its guard, if it may run.
fn probe(tree: &Tree, options: &Options) -> Result<Option<Command>> {
    let xtask = env::current_exe().context("cannot tell this program's own path")?;
    let mut command = match options.access {
        Access::None(_) => return Ok(None),
        Access::Direct => Command::new(xtask),
        Access::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["-n", "--"]).arg(xtask);
            command
        }
    };
    // Options, not variables: sudo passes no environment on.
    command.args(["guard", "--"]).arg(tree.release_binary("probe"));
    let arguments: [OsString; 7] = [
        "run".into(),
        "--port".into(),
        options.ports.probe().to_string().into(),
        "--shard-urls".into(),
        options.ports.shard_urls().into(),
        "--gateway-url".into(),
        url(options.ports.gateway()).into(),
    ];
    command.args(arguments);
    if options.scenarios {
        command.arg("--page-scenarios-url").arg(url(options.ports.scenarios()));
    }
    Ok(Some(program(options, command)))
}
