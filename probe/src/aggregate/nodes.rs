//! Finds and reads the nodes' probes.
//!
//! A round waits for a probe only if it answered before. One that does not is asked again in the background, so that
//! the other nodes are not read more slowly.

use futures_util::future::join_all;
use protocol::probe_api::{NodeReport, NodeStatus};
use protocol::shard_urls::ShardUrl;
use service::members::Members;
use tokio::task::JoinHandle;

use crate::compare::stats_client::{Part, StatsClient};

/// All probes that are known.
pub(super) struct Nodes {
    urls: Members,
    stats: StatsClient,
    found: Vec<Node>,
    /// Why the list of probes is not known.
    problem: Option<String>,
}

/// One probe.
struct Node {
    url: ShardUrl,
    status: NodeStatus,
    /// Asks a probe that did not answer. Returns whether it does now.
    retry: Option<JoinHandle<bool>>,
}

impl Node {
    fn new(url: ShardUrl) -> Self {
        let status = NodeStatus { url: url.to_string(), ..NodeStatus::default() };
        Self { url, status, retry: None }
    }

    /// Its name if it is known, and its URL.
    fn name(&self) -> String {
        let Self { url, status, .. } = self;
        status.node.as_ref().map_or_else(|| url.to_string(), |node| format!("{node} ({url})"))
    }

    fn learn(&mut self, report: &NodeReport) {
        // Its pod may name the node too.
        if report.node.is_some() {
            self.status.node.clone_from(&report.node);
        }
        self.status.counting_since = Some(report.counting_since);
        let watched = report.shards.iter().filter(|shard| !shard.addresses.is_empty());
        self.status.shards = watched.map(|shard| shard.shard_id).collect();
        if self.status.problem.take().is_some() {
            tracing::info!(node = self.name(), "the node's probe answers again");
        }
    }

    fn fail(&mut self, problem: String) {
        if self.status.problem.is_none() {
            tracing::warn!(node = self.name(), problem, "the node's probe does not answer");
        }
        self.status.problem = Some(problem);
    }

    /// Whether this round reads it. If not, asks it again in the background.
    async fn is_due(&mut self, stats: &StatsClient) -> bool {
        if self.status.problem.is_none() {
            return true;
        }
        let answers = match self.retry.take_if(|retry| retry.is_finished()) {
            // Joining the task fails only when the runtime ends.
            Some(retry) => retry.await.unwrap_or(false),
            None => false,
        };
        if !answers && self.retry.is_none() {
            let (stats, url) = (stats.clone(), self.url.clone());
            self.retry = Some(tokio::spawn(async move { stats.node(&url, Part::Requests).await.is_ok() }));
        }
        answers
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.forget_retry();
    }
}

impl Node {
    fn forget_retry(&mut self) {
        if let Some(retry) = self.retry.take() {
            retry.abort();
        }
    }
}

impl Nodes {
    pub(super) fn new(urls: Members, stats: StatsClient) -> Self {
        Self { urls, stats, found: Vec::new(), problem: None }
    }

    /// Replaces the client, for another runtime.
    pub(super) fn renew_client(&mut self) {
        self.stats = self.stats.renewed();
        self.found.iter_mut().for_each(Node::forget_retry);
    }

    /// Follows the list of probes. Without a new one the last one stays.
    pub(super) async fn look_up(&mut self) {
        match self.urls.resolve(self.stats.names()).await {
            Ok(urls) => {
                self.problem = None;
                let mut before = std::mem::take(&mut self.found);
                let known = |url: ShardUrl| {
                    let at = before.iter().position(|node| node.url == url);
                    at.map_or_else(
                        || {
                            let node = self.urls.node(&url);
                            let mut new = Node::new(url);
                            new.status.node = node;
                            new
                        },
                        |at| before.swap_remove(at),
                    )
                };
                self.found = urls.into_iter().map(known).collect();
            }
            Err(problem) => {
                if self.problem.is_none() {
                    tracing::warn!(problem, "the probes cannot be found");
                }
                self.problem = Some(problem);
            }
        }
    }

    /// Reads all probes.
    pub(super) async fn read(&mut self) -> Vec<NodeReport> {
        let stats = &self.stats;
        let read = self.found.iter_mut().map(|node| async move {
            if !node.is_due(stats).await {
                return None;
            }
            let report = stats.node(&node.url, Part::All).await.map_err(|problem| node.fail(problem)).ok()?;
            node.learn(&report);
            Some(report)
        });
        join_all(read).await.into_iter().flatten().collect()
    }

    /// Reads the counts of requests of all probes that answered just now.
    pub(super) async fn read_requests(&mut self) -> Vec<NodeReport> {
        let stats = &self.stats;
        let answering = self.found.iter_mut().filter(|node| node.status.problem.is_none());
        let read = answering.map(|node| async move {
            stats.node(&node.url, Part::Requests).await.map_err(|problem| node.fail(problem)).ok()
        });
        join_all(read).await.into_iter().flatten().collect()
    }

    /// All probes, for `/status`.
    pub(super) fn statuses(&self) -> Vec<NodeStatus> {
        self.found.iter().map(|node| node.status.clone()).collect()
    }

    /// Why no probe watches a shard.
    pub(super) fn why_unwatched(&self, shard: u32, reports: &[NodeReport]) -> String {
        let silent = |node: &&Node| node.status.problem.is_some();
        let told = |node: &Node| {
            let problem = node.status.problem.as_deref().unwrap_or_default();
            format!("the probe of {} does not answer: {problem}", node.name())
        };
        let silent_nodes = || self.found.iter().filter(silent);
        if let Some(node) = silent_nodes().find(|node| node.status.shards.contains(&shard)) {
            return told(node);
        }
        if let Some(node) = silent_nodes().next() {
            return told(node);
        }
        if let (true, Some(problem)) = (self.found.is_empty(), &self.problem) {
            return format!("no probe was found: {problem}");
        }
        let problem_of = |report: &NodeReport| {
            let group = report
                .unwatched
                .iter()
                .find(|group| group.shards.iter().any(|[first, last]| (*first..=*last).contains(&shard)));
            group.map(|group| group.problem.clone())
        };
        let why = reports.iter().find_map(problem_of).filter(|problem| !problem.is_empty());
        match (why, reports.len()) {
            (Some(why), 1) => why,
            (Some(why), probes) => format!("none of {probes} probes watches it: {why}"),
            (None, _) => "no probe watches it".to_owned(),
        }
    }
}
