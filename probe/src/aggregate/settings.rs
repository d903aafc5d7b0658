//! Defines the options of `probe aggregate`, unparsed and validated.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use protocol::probe_api::PageLinks;
use protocol::shard_urls::ShardUrls;
use service::args::{ProcessArgs, SettingError};
use service::members::{Kind, Members};

use crate::compare::gateway::GATEWAYS;
use crate::links::PageArgs;
use crate::pods::selection::Selection;
use crate::pods::settings::ApiArgs;
use crate::targets;

/// The nodes' probes, as a setting.
pub(super) const PROBES: Kind = Kind { setting: "PROBE_URL", plural: "probes", max: 1_024 };

/// Options of `probe aggregate`.
#[derive(Clone, Debug, clap::Args)]
pub struct AggregateArgs {
    /// The shards, as for the nodes' probes; the position in the list is the shard's id
    #[arg(long, env = "SHARD_URLS", value_name = "URLS")]
    pub shard_urls: String,
    /// The nodes' probes, http://host:port separated by commas. dns+http://host:port stands for a probe at each address
    /// of the name
    #[arg(long, env = "PROBE_URL", value_name = "URLS")]
    pub probe_url: Option<String>,
    /// Label selector of the pods of the nodes' probes, in place of PROBE_URL
    #[arg(long, env = "PROBE_SELECTOR", value_name = "LABELS")]
    pub probe_selector: Option<String>,
    /// The namespace of those pods [default: the aggregator's own]
    #[arg(long, env = "PROBE_NAMESPACE", value_name = "NAME")]
    pub probe_namespace: Option<String>,
    /// All gateways, as in `probe run`; the nodes' probes then need none
    #[arg(long, env = "GATEWAY_URL", value_name = "URLS")]
    pub gateway_url: Option<String>,
    /// Label selector of the gateways' pods, in place of GATEWAY_URL
    #[arg(long, env = "GATEWAY_SELECTOR", value_name = "LABELS")]
    pub gateway_selector: Option<String>,
    /// The namespace of those pods [default: the aggregator's own]
    #[arg(long, env = "GATEWAY_NAMESPACE", value_name = "NAME")]
    pub gateway_namespace: Option<String>,
    /// The API server
    #[command(flatten)]
    pub api: ApiArgs,
    /// What the live page calls
    #[command(flatten)]
    pub page: PageArgs,
    /// Port to listen on; 0 takes any free one
    #[arg(long, env = "PORT", default_value_t = 9010, value_name = "PORT")]
    pub port: u16,
    /// Options of every process
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// The aggregator's validated settings.
#[derive(Clone, Debug)]
pub struct AggregateConfig {
    pub(super) addr: SocketAddr,
    pub(super) workers: NonZeroUsize,
    pub(super) memory_limit: Option<u64>,
    pub(super) shards: ShardUrls,
    pub(super) probes: Processes,
    pub(super) gateways: Processes,
    pub(super) links: PageLinks,
}

/// Where probes or gateways are.
#[derive(Clone, Debug)]
pub(super) enum Processes {
    Listed(Members),
    Pods(Selection),
}

impl Processes {
    /// The pods of a selection. Refuses a list beside it.
    fn pods(kind: Kind, list: Option<String>, pods: Selection) -> Result<Self, SettingError> {
        match list.filter(|list| !list.is_empty()) {
            Some(list) => {
                Err(SettingError::new(kind.setting, list, "leave it out, or the label selector of the pods"))
            }
            None => Ok(Self::Pods(pods)),
        }
    }
}

impl TryFrom<AggregateArgs> for AggregateConfig {
    type Error = SettingError;

    fn try_from(args: AggregateArgs) -> Result<Self, SettingError> {
        let shards = targets::parse(&args.shard_urls)?;
        let (labels, namespace) = (args.probe_selector, args.probe_namespace);
        let probes = match args.api.clone().select("PROBE_SELECTOR", labels, namespace, None)? {
            Some(pods) => Processes::pods(PROBES, args.probe_url, pods)?,
            None => Processes::Listed(Members::parse(PROBES, Some(&args.probe_url.unwrap_or_default()))?),
        };
        let (labels, namespace) = (args.gateway_selector, args.gateway_namespace);
        let gateways = match args.api.select("GATEWAY_SELECTOR", labels, namespace, None)? {
            Some(pods) => Processes::pods(GATEWAYS, args.gateway_url, pods)?,
            None => Processes::Listed(Members::parse(GATEWAYS, args.gateway_url.as_deref())?),
        };
        let links = match &gateways {
            Processes::Listed(listed) => args.page.links(listed)?,
            Processes::Pods(_) => args.page.links(&Members::parse(GATEWAYS, None)?)?,
        };
        Ok(Self {
            addr: SocketAddr::new(args.process.bind_address, args.port),
            workers: args.process.workers.unwrap_or(NonZeroUsize::MIN),
            memory_limit: args.process.memory_limit(),
            links,
            probes,
            gateways,
            shards,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: AggregateArgs,
    }

    fn config(list: &[&str]) -> Result<AggregateConfig, SettingError> {
        AggregateConfig::try_from(Line::try_parse_from([&["aggregate"], list].concat()).unwrap().args)
    }

    #[test]
    fn probes_are_urls_or_names_of_many() {
        let shards = ["--shard-urls", "http://s-0:9000,http://s-1:9000"];
        let with = |probes: &str| config(&[&shards[..], &["--probe-url", probes]].concat());
        let found = with("http://a:9010,dns+http://b:9010").unwrap();
        let (Processes::Listed(probes), Processes::Listed(gateways)) = (&found.probes, &found.gateways)
        else {
            panic!("{found:?}");
        };
        assert_eq!(probes.to_string(), "http://a:9010,dns+http://b:9010");
        assert_eq!((found.addr.port(), found.shards.count().get(), gateways.is_empty()), (9010, 2, true));
        assert!(config(&shards).unwrap_err().to_string().starts_with("PROBE_URL="));
        for bad in ["", "b:9010", "http://a,http://a"] {
            let error = with(bad).unwrap_err().to_string();
            assert!(error.starts_with("PROBE_URL=") && error.lines().count() == 1, "{error}");
        }
    }

    #[test]
    fn a_store_has_a_maximum_number_of_shards() {
        let list = |n: u32| (0..n).map(|n| format!("http://s-{n}")).collect::<Vec<_>>().join(",");
        let with = |n| config(&["--shard-urls", &list(n), "--probe-url", "http://a:9010"]);
        assert!(with(targets::MAX_STORE).is_ok());
        assert!(with(targets::MAX_STORE + 1).unwrap_err().to_string().ends_with("at most 1024 shards"));
    }
}
