//! Serves `/status`: programs, features, privileges, costs.

use axum::Json;
use axum::extract::State;
use probe_common::LAYOUT;
use protocol::ErrorKind;
use protocol::probe_api::{ProbeStatus, SelfStatus, ShardTarget};
use service::problem::Problem;

use super::features::features;
use super::state::ApiState;
use crate::kernel::privileges;
use crate::kernel::release::kernel_release;
use crate::source::SourceError;

/// The probe's current status. 500 when `/proc` cannot be read, 503 when the kernel's counters cannot be read.
pub(crate) async fn status(State(state): State<ApiState>) -> Result<Json<ProbeStatus>, Problem> {
    let probe = &state.probe;
    let privileges =
        privileges::status().map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?;
    let unreadable = |error: SourceError| Problem::new(ErrorKind::NotReady, error.to_string());
    let events_lost = probe.metrics.events_lost().into_iter();
    let self_status = SelfStatus {
        runs: probe.runs().map_err(unreadable)?,
        maps: probe.source().and_then(|mut source| source.fills()).map_err(unreadable)?,
        events_lost: events_lost.map(|(reason, count)| (reason.into(), count)).collect(),
    };
    let targets = probe.targets.lock().clone();
    let watched = probe.shards.all();
    let shards =
        watched.iter().zip(targets.shards).enumerate().map(|(shard_id, (shard, target))| ShardTarget {
            shard_id,
            url: shard.url.clone(),
            addresses: target.addresses.iter().map(ToString::to_string).collect(),
            problem: target.problem,
        });
    Ok(Json(ProbeStatus {
        kernel_release: kernel_release(),
        cgroup: probe.cgroup.display().to_string(),
        object_layout: LAYOUT,
        programs: probe.programs.clone(),
        features: features(probe),
        privileges,
        self_status,
        counting: probe.counting.clone(),
        shards: shards.collect(),
    }))
}
