//! `/api/latency`: both witnesses' latencies in buckets, for whoever wants those of a while: later counts less earlier.

use axum::Json;
use axum::extract::State;
use probe_common::latency::{BUCKETS, Latency, upper_bound};
use protocol::ErrorKind;
use serde::Serialize;
use service::problem::Problem;

use crate::compare::app_metrics::{AppMetrics, Bucket};
use crate::serve::state::ApiState;
use service::clock::unix_seconds;

/// The body.
#[derive(Debug, Serialize)]
pub struct LatencyBody {
    taken_at: f64,
    shards: Vec<ShardLatency>,
}

#[derive(Debug, Serialize)]
struct ShardLatency {
    shard_id: u32,
    /// Since the probe attached; empty buckets left out.
    kernel: Vec<Bucket>,
    /// Absent where the shard cannot be read.
    app: Option<App>,
    /// Why it is absent.
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct App {
    /// When this shard was read.
    taken_at: f64,
    #[serde(flatten)]
    metrics: AppMetrics,
}

/// All buckets, read for this request.
///
/// # Errors
/// 503 when the kernel's cannot be read.
pub async fn latency(State(state): State<ApiState>) -> Result<Json<LatencyBody>, Problem> {
    let apps = state.probe.shards.iter().map(|url| state.stats.metrics(url));
    let apps = futures_util::future::join_all(apps).await;
    let shards = state.probe.shards.iter().zip(apps).map(|(url, app)| {
        let shard_id = url.id.0;
        let latency = state.probe.source().and_then(|mut source| source.latency(shard_id));
        let latency = latency.map_err(|error| Problem::new(ErrorKind::NotReady, error.to_string()))?;
        let (app, problem) = match app {
            Ok((taken_at, metrics)) => (Some(App { taken_at, metrics }), None),
            Err(problem) => (None, Some(problem)),
        };
        Ok(ShardLatency { shard_id, kernel: buckets(&latency), app, problem })
    });
    let shards = shards.collect::<Result<_, Problem>>()?;
    Ok(Json(LatencyBody { taken_at: unix_seconds(), shards }))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn buckets(latency: &Latency) -> Vec<Bucket> {
    let counts = latency.buckets.iter().take(BUCKETS).enumerate().filter(|(_, count)| **count > 0);
    counts.map(|(bucket, count)| (upper_bound(bucket).map(|bound| bound as f64 / 1e6), *count)).collect()
}
