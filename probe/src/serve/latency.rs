//! Serves `/api/latency`: latencies by kernel and shard, in buckets.

use axum::Json;
use axum::extract::State;
use protocol::ErrorKind;
use protocol::probe_api::{AppLatency, Latencies, NodeStatus, ShardLatency};
use protocol::shard_urls::ShardUrls;
use service::problem::Problem;

use crate::compare::stats_client::StatsClient;
use crate::probe::SHARD_PODS;
use crate::serve::state::ApiState;
use crate::signal::latency::buckets;
use service::clock::unix_seconds;

/// All buckets, read for this request. 503 when the kernel's buckets cannot be read.
pub(crate) async fn latency(State(state): State<ApiState>) -> Result<Json<Latencies>, Problem> {
    let (state, watched) = (&state, state.probe.shards.all());
    let nodes = state.probe.nodes.lock().clone();
    let apps = match (&nodes, &state.probe.lab) {
        (Some(nodes), _) => by_nodes(&state.stats, nodes, watched.len()).await,
        (None, Some(urls)) => by_shards(state, urls).await,
        (None, None) => vec![Err("a store exports no latencies".to_owned()); watched.len()],
    };
    let shards = watched.iter().zip(apps).map(|(shard, app)| {
        let shard_id = shard.id;
        let latency = state.probe.source().and_then(|mut source| source.latency(shard_id));
        let latency = latency.map_err(|error| Problem::new(ErrorKind::NotReady, error.to_string()))?;
        let (app, problem) = match app {
            Ok(app) => (Some(app), None),
            Err(problem) => (None, Some(problem)),
        };
        Ok(ShardLatency { shard_id, kernel: buckets(&latency), app, problem })
    });
    let shards = shards.collect::<Result<_, Problem>>()?;
    Ok(Json(Latencies { taken_at: unix_seconds(), shards }))
}

/// The shards' own latencies. Pods on other nodes are not read.
async fn by_shards(state: &ApiState, urls: &ShardUrls) -> Vec<Result<AppLatency, String>> {
    let are_pods =
        state.probe.pods.get().is_some_and(|watches| watches.iter().any(|(name, _)| *name == SHARD_PODS));
    let targets = are_pods.then(|| state.probe.targets.lock().clone());
    let targets = targets.as_ref();
    let apps = urls.iter().zip(0..).map(|(url, shard)| async move {
        let Some(targets) = targets else { return state.stats.metrics(url).await };
        let target = targets.shards.get(shard).filter(|target| !target.addresses.is_empty());
        if target.is_none() {
            return Err("this probe does not watch the shard".to_owned());
        }
        state.stats.metrics(&targets.at_address(url)).await
    });
    futures_util::future::join_all(apps).await
}

/// The shards' own latencies, as their nodes' probes read them.
async fn by_nodes(
    stats: &StatsClient,
    nodes: &[NodeStatus],
    shards: usize,
) -> Vec<Result<AppLatency, String>> {
    let mut apps = vec![Err("no probe watches the shard".to_owned()); shards];
    let answering = nodes.iter().filter(|node| node.problem.is_none() && !node.shards.is_empty());
    let read = answering.map(|node| async move { (node, stats.latencies(&node.url).await) });
    for (node, read) in futures_util::future::join_all(read).await {
        let of_shard = |id: u32| match &read {
            Ok(read) => {
                let read = read.shards.iter().find(|shard| shard.shard_id == id);
                let problem = || read.and_then(|read| read.problem.clone()).unwrap_or_default();
                read.and_then(|read| read.app.clone()).ok_or_else(problem)
            }
            Err(problem) => Err(format!("the probe {} cannot be read: {problem}", node.url)),
        };
        for id in &node.shards {
            if let Some(app) = apps.get_mut(*id as usize) {
                *app = of_shard(*id);
            }
        }
    }
    apps
}
