//! Serves `/api/latency`: latencies by kernel and shard, in buckets.

use axum::Json;
use axum::extract::State;
use protocol::ErrorKind;
use protocol::probe_api::{Latencies, ShardLatency};
use service::problem::Problem;

use crate::serve::state::ApiState;
use crate::signal::latency::buckets;
use service::clock::unix_seconds;

/// All buckets, read for this request. 503 when the kernel's buckets cannot be read.
pub(crate) async fn latency(State(state): State<ApiState>) -> Result<Json<Latencies>, Problem> {
    let (state, watched) = (&state, state.probe.shards.all());
    let targets = state.probe.pods.get().map(|_| state.probe.targets.lock().clone());
    let apps = match &state.probe.lab {
        Some(urls) => {
            let apps = urls.iter().map(|url| {
                let url = targets.as_ref().map_or_else(|| url.clone(), |targets| targets.at_address(url));
                async move { state.stats.metrics(&url).await }
            });
            futures_util::future::join_all(apps).await
        }
        None => vec![Err("a store exports no latencies".to_owned()); watched.len()],
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
