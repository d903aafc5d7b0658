//! Defines the settings: unparsed [`Args`] and validated [`Config`].

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use protocol::probe_api::PageLinks;
use protocol::shard_urls::ShardUrls;
use service::args::{ProcessArgs, SettingError};
use service::members::Members;

use crate::aggregate::settings::AggregateArgs;
use crate::attach::KernelSettings;
use crate::compare::gateway::GATEWAYS;
use crate::kernel::object::Switches;
use crate::kernel::pin::folder;
use crate::kernel::pin::unpin::UnpinArgs;
use crate::kernel::protocol::Protocol;
use crate::links::PageArgs;
use crate::pods::PodArgs;
use crate::pods::selection::Selection;
#[cfg(feature = "stores")]
use crate::store::settings::WatchArgs;
use crate::switch::Switch;
use crate::targets;
use crate::view::args::{ReconcileArgs, TopArgs};

/// Counts requests at the shards' sockets in the kernel, and compares them with the shards' own counts
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Args {
    /// The command
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the probe.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Attach, count, and serve /metrics, /status, /api/compare and /api/shards until stopped
    Run(RunArgs),
    /// Read the probes of all nodes, and serve as one probe that sees all shards; attaches nothing, needs no privileges
    Aggregate(AggregateArgs),
    /// Watch a Redis or Valkey store: hot shard, slot and key, reconciled with the store's own counts
    #[cfg(feature = "stores")]
    Watch(WatchArgs),
    /// Check whether the probe can run here, with a remedy for each problem; exit code 0 or 1
    Check(CheckArgs),
    /// Compare the counts of kernel and shards: difference, bound and verdict
    Reconcile(ReconcileArgs),
    /// Remove what `probe run --pin DIR` left, so that the kernel stops counting; exit code 0, or 1 if something is
    /// left
    Unpin(UnpinArgs),
    /// Show the shards live, sorted by load: rates, latencies, connections, verdicts, top keys
    Top(TopArgs),
}

/// Options of `probe check`. It reads no shard, so it needs none.
#[derive(Clone, Debug, clap::Args)]
#[command(mut_arg("shard_urls", |urls| urls.required(false).default_value("http://127.0.0.1:9000")))]
pub struct CheckArgs {
    /// Print JSON, one object for each check on a line, instead of text
    #[arg(long)]
    pub json: bool,
    /// The options of `probe run`
    #[command(flatten)]
    pub run: RunArgs,
}

/// Options of `probe run` and `probe check`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The shards, http://host:port separated by commas; the position in the list is the shard's id
    #[arg(long, env = "SHARD_URLS", value_name = "URLS")]
    pub shard_urls: String,
    /// All gateways, http://host:port separated by commas. dns+http://host:port stands for a gateway at each address
    /// of the name. Requests that bypass all of them are counted
    #[arg(long, env = "GATEWAY_URL", value_name = "URLS")]
    pub gateway_url: Option<String>,
    /// What the live page calls
    #[command(flatten)]
    pub page: PageArgs,
    /// Port to listen on; 0 takes any free one
    #[arg(long, env = "PORT", default_value_t = 9010, value_name = "PORT")]
    pub port: u16,
    /// The cgroup whose sockets are watched; it must contain all shards [default: the root cgroup]
    #[arg(long, env = "CGROUP", value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Whether the kernel programs log unparsed segments
    #[arg(long, env = "KERNEL_LOG", default_value = "off", value_name = "SWITCH")]
    pub kernel_log: Switch,
    /// Whether round-trip times are measured; costs 0.13 µs per answer
    #[arg(long, env = "RTT", default_value = "off", value_name = "SWITCH")]
    pub rtt: Switch,
    /// Whether the kernel counts the programs' runs, for /status and /metrics. Requires CAP_SYS_ADMIN or the setting
    /// kernel.bpf_stats_enabled=1. Costs 60 to 97 ns per run of every eBPF program of the system
    #[arg(long, env = "PROGRAM_STATS", default_value = "off", value_name = "SWITCH")]
    pub program_stats: Switch,
    /// Folder in a bpffs where maps and links are pinned, such as /sys/fs/bpf/hot-partition. The kernel then counts
    /// while no probe runs, and the next probe with the same PIN and SHARD_URLS adopts the counts. `probe unpin`
    /// removes them [default: nothing is pinned]
    #[arg(long, env = "PIN", value_name = "DIR")]
    pub pin: Option<PathBuf>,
    /// Whether the probe ends with exit code 1 once it does not see a shard's packets, for a service manager that
    /// restarts it
    #[arg(
        long, env = "EXIT_WHEN_BLIND", default_value = "off", default_missing_value = "on", num_args = 0..=1,
        value_name = "SWITCH"
    )]
    pub exit_when_blind: Switch,
    /// Shards that are pods
    #[command(flatten)]
    pub pods: PodArgs,
    /// Options of every process
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// The probe's validated settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on.
    pub(crate) addr: SocketAddr,
    /// Number of runtimes that serve. The default is one, because the probe has little to serve.
    pub(crate) workers: NonZeroUsize,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) shards: ShardUrls,
    /// The gateways that are also read.
    pub(crate) gateways: Members,
    /// The name of this probe's node.
    pub(crate) node: Option<String>,
    /// How to find the shards, when they are pods.
    pub(crate) pods: Option<Selection>,
    /// The addresses that the live page calls.
    pub(crate) links: PageLinks,
    /// The cgroup to attach to. `None` selects the root cgroup from the mount table.
    pub cgroup: Option<PathBuf>,
    /// The settings of the kernel programs.
    pub switches: Switches,
    /// Whether the kernel counts the programs' runs.
    pub program_stats: bool,
    /// Where to pin maps and links. `None` pins nothing.
    pub pin: Option<PathBuf>,
    /// Whether the process ends with exit code 1 once the probe is blind.
    pub exit_when_blind: bool,
}

impl TryFrom<RunArgs> for Config {
    type Error = SettingError;

    fn try_from(args: RunArgs) -> Result<Self, SettingError> {
        let shards = targets::parse(&args.shard_urls)?;
        let gateways = Members::parse(GATEWAYS, args.gateway_url.as_deref())?;
        let links = args.page.links(&gateways)?;
        let node = args.pods.node_name.clone().filter(|node| !node.is_empty());
        Ok(Self {
            addr: SocketAddr::new(args.process.bind_address, args.port),
            workers: args.process.workers.unwrap_or(NonZeroUsize::MIN),
            memory_limit: args.process.memory_limit(),
            gateways,
            node,
            pods: args.pods.checked()?,
            links,
            cgroup: args.cgroup,
            switches: Switches {
                kernel_log: args.kernel_log == Switch::On,
                rtt: args.rtt == Switch::On,
                shards: shards.count().get(),
                protocol: Protocol::default(),
            },
            shards,
            program_stats: args.program_stats == Switch::On,
            pin: args.pin.map(folder::named).transpose()?,
            exit_when_blind: args.exit_when_blind == Switch::On,
        })
    }
}

impl Config {
    /// What attaching depends on.
    pub(crate) fn kernel(&self) -> KernelSettings {
        KernelSettings {
            cgroup: self.cgroup.clone(),
            switches: self.switches,
            program_stats: self.program_stats,
            pin: self.pin.clone(),
        }
    }

    /// Settings for a probe that one command attaches for itself. It listens on a free port of the loopback address.
    pub(crate) fn alone(
        shard_urls: &str,
        gateway_url: Option<&str>,
        cgroup: Option<PathBuf>,
    ) -> Result<Self, SettingError> {
        let shards = targets::parse(shard_urls)?;
        Ok(Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            workers: NonZeroUsize::MIN,
            memory_limit: None,
            gateways: Members::parse(GATEWAYS, gateway_url)?,
            node: None,
            pods: None,
            links: PageLinks::default(),
            cgroup,
            switches: Switches { shards: shards.count().get(), ..Switches::default() },
            shards,
            program_stats: false,
            pin: None,
            exit_when_blind: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(list: &[&str]) -> Result<Config, SettingError> {
        let args = Args::try_parse_from([&["probe", "run"], list].concat()).unwrap();
        match args.command {
            Command::Run(args) | Command::Check(CheckArgs { run: args, .. }) => Config::try_from(args),
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = config(&["--shard-urls", "http://127.0.0.1:9000,http://127.0.0.1:9001"]).unwrap();
        assert_eq!(config.addr, "127.0.0.1:9010".parse().unwrap());
        assert_eq!((config.workers.get(), config.shards.count().get()), (1, 2));
        assert_eq!(config.switches, Switches { shards: 2, ..Switches::default() });
        assert!(config.cgroup.is_none());
    }

    #[test]
    fn the_page_calls_the_gateway_that_is_asked_unless_told_otherwise() {
        let links = |more: &[&str]| {
            let all = [&["--shard-urls", "http://a", "--gateway-url", "http://g:8000"], more].concat();
            config(&all).map(|config| (config.links.gateway, config.links.scenarios))
        };
        assert_eq!(links(&[]).unwrap(), (Some("http://g:8000".to_owned()), None));
        let found = links(&["--page-gateway-url", "http://localhost:8000", "--page-scenarios-url", ""]);
        assert_eq!(found.unwrap(), (Some("http://localhost:8000".to_owned()), None));
        // The URL becomes part of a header, so only a valid URL is allowed.
        let error = links(&["--page-scenarios-url", "http://x; script-src *"]).unwrap_err().to_string();
        assert!(error.starts_with("PAGE_SCENARIOS_URL=") && error.lines().count() == 1, "{error}");
    }

    #[test]
    fn bad_lists_are_refused_by_name() {
        for list in ["", "http://a,,http://b", "https://a", "http://a/x", "http://a,http://a"] {
            let error = config(&["--shard-urls", list]).unwrap_err().to_string();
            assert!(error.starts_with("SHARD_URLS=") && error.lines().count() == 1, "{error}");
        }
    }
}
