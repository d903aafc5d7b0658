//! `/api/latency`: both witnesses' latencies in buckets, for whoever wants those of a while: later counts less earlier.

use axum::Json;
use axum::extract::State;
use probe_common::latency::{BUCKETS, Latency, upper_bound};
use protocol::ErrorKind;
use protocol::probe_api::{Bucket, Latencies, ShardLatency};
use service::problem::Problem;

use crate::serve::state::ApiState;
use service::clock::unix_seconds;

/// All buckets, read for this request.
///
/// # Errors
/// 503 when the kernel's cannot be read.
pub async fn latency(State(state): State<ApiState>) -> Result<Json<Latencies>, Problem> {
    let apps = state.probe.shards.iter().map(|url| state.stats.metrics(url));
    let apps = futures_util::future::join_all(apps).await;
    let shards = state.probe.shards.iter().zip(apps).map(|(url, app)| {
        let shard_id = url.id.0;
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

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn buckets(latency: &Latency) -> Vec<Bucket> {
    let counts = latency.buckets.iter().take(BUCKETS).enumerate().filter(|(_, count)| **count > 0);
    counts.map(|(bucket, count)| (upper_bound(bucket).map(|bound| bound as f64 / 1e6), *count)).collect()
}
