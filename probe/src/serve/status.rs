//! Serves `/status`: programs, features, privileges, costs.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::State;
use probe_common::LAYOUT;
use probe_common::endpoint::{Endpoint, UNKNOWN_NAMESPACE};
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
    let listeners = probe.listeners.lock().clone();
    let namespace = |address: &SocketAddr| {
        let listener = listeners.get(&Endpoint::from(*address))?;
        (listener.namespace != UNKNOWN_NAMESPACE).then_some(listener.namespace)
    };
    let blindness = probe.blindness.lock().clone();
    let blind = |shard: usize| blindness.shards.get(shard).cloned().flatten();
    let watched = probe.shards.all();
    let shards =
        watched.iter().zip(targets.shards).enumerate().map(|(shard_id, (shard, target))| ShardTarget {
            shard_id,
            url: shard.url.clone(),
            addresses: target.addresses.iter().map(ToString::to_string).collect(),
            namespaces: target.addresses.iter().map(namespace).collect(),
            problem: target.problem.or_else(|| blind(shard_id)),
        });
    Ok(Json(ProbeStatus {
        kernel_release: kernel_release(),
        cgroup: probe.cgroup.path().display().to_string(),
        object_layout: LAYOUT,
        programs: probe.programs(),
        blind: blindness.problem(),
        features: features(probe),
        privileges,
        self_status,
        counting: probe.counting.clone(),
        shards: shards.collect(),
        nodes: probe.nodes.lock().clone(),
    }))
}
