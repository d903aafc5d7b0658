//! Maps addresses to shards.
//!
//! The addresses come from `SHARD_URLS`, resolved in the background, or from [`pods`](crate::pods).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use probe_common::endpoint::Endpoint;
use probe_common::{MAX_ENDPOINTS, MAX_SHARDS};
use protocol::shard_urls::{ShardUrl, ShardUrls};
use service::args::SettingError;
use service::names::Names;

/// Maximum number of shards of the whole store. A probe watches up to [`MAX_SHARDS`] of them.
pub(crate) const MAX_STORE: u32 = 1_024;

/// The shards' endpoints at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Endpoint to shard, for the kernel's map.
    pub(crate) endpoints: BTreeMap<Endpoint, u32>,
    /// Per shard, in order of id.
    pub(crate) shards: Vec<Target>,
    /// Number of addresses that exceeded the limit.
    pub(crate) over_limit: usize,
}

/// One shard's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) addresses: Vec<SocketAddr>,
    /// Why all or some of its addresses are not watched.
    pub(crate) problem: Option<String>,
}

/// One shard's addresses from a lookup, or why there are none.
pub(crate) type Lookup = Result<Vec<SocketAddr>, String>;

/// Parses `SHARD_URLS`.
pub(crate) fn parse(list: &str) -> Result<ShardUrls, SettingError> {
    let refused = |why: String| SettingError::new("SHARD_URLS", list, why);
    let urls = ShardUrls::parse(list).map_err(|error| refused(error.to_string()))?;
    if urls.count().get() > MAX_STORE {
        return Err(refused(format!("at most {MAX_STORE} shards")));
    }
    Ok(urls)
}

/// Looks up every shard's addresses.
pub(crate) async fn resolve(urls: &ShardUrls, names: &Names) -> Targets {
    let lookups = urls.iter().map(|url| lookup(url, names));
    assemble(futures_util::future::join_all(lookups).await)
}

async fn lookup(url: &ShardUrl, names: &Names) -> Lookup {
    names.resolve_with_port(&url.host, url.port).await.map_err(|error| error.to_string())
}

/// Creates the targets from one lookup per shard, in order of id. The first [`MAX_SHARDS`] shards with an address are
/// watched.
pub(crate) fn assemble(lookups: Vec<Lookup>) -> Targets {
    let (mut targets, mut watched) = (Targets::default(), 0);
    for (shard, lookup) in (0..).zip(lookups) {
        let mut target = Target::default();
        match lookup {
            Ok(addresses) if watched >= MAX_SHARDS && !addresses.is_empty() => {
                target.problem =
                    Some(format!("it is not watched: a probe has room for {MAX_SHARDS} shards on its node"));
                targets.over_limit += addresses.len();
            }
            Ok(addresses) => {
                for address in addresses {
                    targets.over_limit += usize::from(!target.add(address, shard, &mut targets.endpoints));
                }
            }
            Err(problem) => target.problem = Some(problem),
        }
        watched += u32::from(!target.addresses.is_empty());
        targets.shards.push(target);
    }
    targets
}

impl Targets {
    /// The URL of a shard at its first address. The name in `url` may lead to another process than the address.
    pub(crate) fn at_address(&self, url: &ShardUrl) -> ShardUrl {
        let shard = usize::try_from(url.id.0).ok().and_then(|id| self.shards.get(id));
        let Some(address) = shard.and_then(|shard| shard.addresses.first()) else { return url.clone() };
        ShardUrl::at(url.id, *address)
    }
}

impl Target {
    /// Whether this is one of its addresses, in either notation of IPv4.
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        let endpoint = Endpoint::from(address);
        self.addresses.iter().any(|address| Endpoint::from(*address) == endpoint)
    }

    /// Adds an address. Returns `false` when the limit is reached.
    fn add(&mut self, address: SocketAddr, shard: u32, endpoints: &mut BTreeMap<Endpoint, u32>) -> bool {
        if address.ip().is_unspecified() {
            self.problem =
                Some(format!("{address} is a wildcard address: name the address that clients use"));
            return true;
        }
        if self.addresses.contains(&address) {
            return true;
        }
        let endpoint = Endpoint::from(address);
        if let Some(other) = endpoints.get(&endpoint) {
            self.problem = Some(format!("{address} already belongs to shard {other}"));
            return true;
        }
        if endpoints.len() >= MAX_ENDPOINTS as usize {
            self.problem =
                Some(format!("{address} is not watched: there is room for {MAX_ENDPOINTS} addresses"));
            return false;
        }
        endpoints.insert(endpoint, shard);
        self.addresses.push(address);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[tokio::test]
    async fn literal_addresses_of_both_families_are_taken_as_they_are() {
        let urls = ShardUrls::parse("http://127.0.0.1:9000,http://[::1]:9001").unwrap();
        let targets = resolve(&urls, &Names::default()).await;
        assert_eq!(targets.shards[1], Target { addresses: vec![at("[::1]:9001")], problem: None });
        let v4 = Endpoint::v6([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1], 9000);
        assert_eq!(targets.endpoints.get(&v4), Some(&0));
        assert_eq!(targets.endpoints.len(), 2);
    }

    #[tokio::test]
    async fn a_name_without_address_is_that_shards_problem_alone() {
        let urls = ShardUrls::parse("http://no-such-host.invalid:9000,http://127.0.0.1:9001").unwrap();
        let targets = resolve(&urls, &Names::default()).await;
        assert!(targets.shards[0].problem.as_ref().unwrap().contains("no-such-host.invalid has no address"));
        assert_eq!((targets.shards[1].problem.as_ref(), targets.endpoints.len()), (None, 1));
    }

    #[test]
    fn an_address_belongs_to_one_shard() {
        let targets = assemble(vec![
            Ok(vec![at("10.0.0.1:9000"), at("10.0.0.1:9000"), at("[::ffff:10.0.0.1]:9000")]),
            Ok(vec![at("10.0.0.1:9000"), at("10.0.0.2:9000")]),
            Ok(vec![at("0.0.0.0:9000")]),
        ]);
        assert_eq!(targets.shards[0].addresses, [at("10.0.0.1:9000")]);
        assert_eq!(targets.shards[1].addresses, [at("10.0.0.2:9000")]);
        assert_eq!(targets.shards[1].problem.as_deref(), Some("10.0.0.1:9000 already belongs to shard 0"));
        assert!(targets.shards[2].problem.as_ref().unwrap().contains("is a wildcard address"));
        assert_eq!(targets.endpoints.len(), 2);
    }

    #[test]
    fn a_shard_is_read_at_its_first_address() {
        let targets = assemble(vec![
            Ok(vec![at("[fd00::7]:9001"), at("10.0.0.1:9001")]),
            Err("it has no address".to_owned()),
        ]);
        let urls = ShardUrls::parse("http://shard-0:9000,http://shard-1:9000").unwrap();
        let shown: Vec<_> = urls.iter().map(|url| targets.at_address(url).to_string()).collect();
        assert_eq!(shown, ["http://[fd00::7]:9001", "http://shard-1:9000"]);
    }

    #[test]
    fn addresses_there_is_no_room_for_are_counted() {
        let addresses = (0..=255).map(|n| SocketAddr::from(([10, 0, 0, n], 9000))).collect();
        let targets = assemble(vec![Ok(addresses), Ok(vec![at("10.0.1.1:9000"), at("10.0.1.2:9000")])]);
        assert_eq!((targets.endpoints.len(), targets.over_limit), (256, 2));
        assert!(targets.shards[1].problem.as_ref().unwrap().ends_with("there is room for 256 addresses"));
    }

    #[test]
    fn shards_of_a_node_there_is_no_room_for_are_named_and_those_of_other_nodes_do_not_matter() {
        let local = |n: u8| Ok(vec![SocketAddr::from(([10, 0, 0, n], 9000))]);
        let away = || Err("it has no running pod on node n".to_owned());
        let lookups = (0..200).map(|n| if n % 3 == 0 { local(n) } else { away() });
        let targets = assemble(lookups.collect());
        assert_eq!((targets.endpoints.len(), targets.over_limit), (64, 3));
        assert_eq!((&targets.shards[189].problem, targets.shards[1].problem.clone()), (&None, away().err()));
        for shard in [192, 195, 198] {
            let target = &targets.shards[shard];
            assert!(target.addresses.is_empty());
            let problem = target.problem.as_deref();
            assert_eq!(problem, Some("it is not watched: a probe has room for 64 shards on its node"));
        }
    }

    #[test]
    fn more_shards_than_a_store_may_have_are_refused() {
        let list = |count: u16| {
            (0..count).map(|n| format!("http://127.0.0.1:{}", 9000 + n)).collect::<Vec<_>>().join(",")
        };
        assert_eq!(parse(&list(1_024)).unwrap().count().get(), 1_024);
        let error = parse(&list(1_025)).unwrap_err().to_string();
        assert!(error.ends_with("at most 1024 shards"), "{error}");
    }
}
