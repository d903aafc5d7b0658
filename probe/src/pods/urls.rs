//! Finds probes or gateways that are pods.

use std::net::SocketAddr;

use protocol::ShardId;
use protocol::shard_urls::ShardUrl;
use service::members::Finder;
use tokio::sync::watch::Receiver;

use super::found::Found;
use super::selection::Selection;

/// The URLs of the pods of one selection.
#[derive(Debug)]
pub(crate) struct PodUrls {
    found: Receiver<Found>,
    /// Where the pods are searched.
    place: String,
}

impl PodUrls {
    pub(crate) fn new(found: Receiver<Found>, selection: &Selection) -> Self {
        Self { found, place: selection.place() }
    }
}

impl Finder for PodUrls {
    /// Also those that are not ready: they may have counts that are missing otherwise.
    fn find(&self) -> Result<Vec<ShardUrl>, String> {
        let found = self.found.borrow();
        let addresses = found.pods()?.iter().filter_map(|pod| pod.addresses.as_ref().ok()?.first());
        let urls: Vec<_> = addresses.map(|address| ShardUrl::at(ShardId(0), *address)).collect();
        if urls.is_empty() {
            return Err(format!("there is no running pod {}", self.place));
        }
        Ok(urls)
    }

    fn node(&self, url: &ShardUrl) -> Option<String> {
        let host = url.host.trim_start_matches('[').trim_end_matches(']');
        let address = SocketAddr::new(host.parse().ok()?, url.port);
        let found = self.found.borrow();
        let mut pods = found.pods.as_deref()?.iter();
        let pod = pods.find(|pod| pod.addresses.as_ref().is_ok_and(|at| at.first() == Some(&address)))?;
        (!pod.node.is_empty()).then(|| pod.node.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::sync::watch;

    use super::*;
    use crate::pods::found::FoundPod;
    use crate::pods::selection::ApiServer;

    fn pod(node: &str, addresses: Result<&[&str], &str>) -> FoundPod {
        let parsed = |addresses: &[&str]| addresses.iter().map(|at| at.parse().unwrap()).collect();
        let addresses = addresses.map(parsed).map_err(ToOwned::to_owned);
        FoundPod { name: String::new(), node: node.to_owned(), index: None, addresses, is_ready: false }
    }

    #[test]
    fn each_pod_with_an_address_is_found_with_its_node() {
        let selection = Selection {
            server: ApiServer { authority: "a:1".parse().unwrap(), ca: Vec::new(), token: PathBuf::new() },
            namespace: "lab".to_owned(),
            labels: String::new(),
            node: None,
        };
        let sender = watch::Sender::new(Found::default());
        let urls = PodUrls::new(sender.subscribe(), &selection);
        assert_eq!(urls.find(), Err("the Kubernetes API has not been read yet".to_owned()));
        let pods = [
            pod("n-1", Ok(&["10.0.0.1:9010", "[fd00::1]:9010"])),
            pod("n-2", Ok(&["[fd00::2]:9010"])),
            pod("n-3", Ok(&[])),
            pod("n-4", Err("it names no containerPort")),
        ];
        sender.send_modify(|found| found.pods = Some(pods.into()));
        let found = urls.find().unwrap();
        let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["http://10.0.0.1:9010", "http://[fd00::2]:9010"]);
        let nodes: Vec<_> = found.iter().map(|url| urls.node(url)).collect();
        assert_eq!(nodes, [Some("n-1".to_owned()), Some("n-2".to_owned())]);
        sender.send_modify(|found| found.pods = Some([].into()));
        assert_eq!(urls.find(), Err("there is no running pod in lab".to_owned()));
    }
}
