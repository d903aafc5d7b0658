//! The JSON the probe serves: `/status`, `/api/compare`, `/api/shards`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use probe_common::LAYOUT;
use probe_common::requests::Reason;
use probe_common::traffic::Traffic;
use protocol::ErrorKind;
use serde::Serialize;
use service::problem::Problem;

use super::features::features;
use super::state::ApiState;
use crate::compare::hot_keys::HotKeys;
use crate::compare::reconcile::Comparison;
use crate::kernel::attach::ProgramStatus;
use crate::kernel::feature::Feature;
use crate::kernel::pin::Counting;
use crate::kernel::privileges::{self, PrivilegeStatus};
use crate::kernel::release::kernel_release;
use crate::probe::ShardReading;
use crate::serve::keys;
use crate::signal::connections::ConnectionCounts;
use crate::signal::keys::{KernelKey, KeyTable};
use crate::signal::latency::Quantiles;
use crate::signal::self_metrics::{MapFill, ProgramRuns};
use crate::source::{Counters, SourceError};
use service::clock::unix_seconds;

/// Keys a shard's list has.
const TOP_KEYS: usize = 10;

/// How old the table they are of may be: no older than the pause between two frames of `probe top`.
const TOP_KEYS_AGE: Duration = Duration::from_millis(100);

/// `/api/compare`.
#[derive(Debug, Serialize)]
pub struct CompareBody {
    taken_at: f64,
    shards: Vec<CompareShard>,
    hot_keys: HotKeysBody,
}

/// The hot keys of `/api/compare`.
#[derive(Debug, Serialize)]
struct HotKeysBody {
    shards: Vec<ShardHotKeys>,
}

#[derive(Debug, Serialize)]
struct ShardHotKeys {
    shard_id: usize,
    #[serde(flatten)]
    hot_keys: HotKeys,
}

/// One shard of `/api/compare`.
#[derive(Debug, Serialize)]
struct CompareShard {
    shard_id: usize,
    #[serde(flatten)]
    comparison: Comparison,
}

/// A comparison taken for this request.
///
/// # Errors
/// 503 when the probe is stopping.
pub async fn compare(State(state): State<ApiState>) -> Result<Json<CompareBody>, Problem> {
    let stopping = || Problem::new(ErrorKind::NotReady, "the probe is stopping");
    let snapshot = state.asker.fresh().await.ok_or_else(stopping)?;
    let shards = snapshot.shards.into_iter().enumerate();
    let hot_keys = snapshot.hot_keys.into_iter().enumerate();
    let hot_keys = hot_keys.map(|(shard_id, hot_keys)| ShardHotKeys { shard_id, hot_keys });
    Ok(Json(CompareBody {
        taken_at: snapshot.taken_at,
        shards: shards.map(|(shard_id, comparison)| CompareShard { shard_id, comparison }).collect(),
        hot_keys: HotKeysBody { shards: hot_keys.collect() },
    }))
}

/// `/api/shards`: counters since attach.
#[derive(Debug, Serialize)]
pub struct ShardsBody {
    taken_at: f64,
    shards: Vec<ShardCounters>,
}

#[derive(Debug, Serialize)]
struct ShardCounters {
    shard_id: u32,
    address: String,
    requests: ByOperation,
    control_requests: u64,
    payload_bytes: ByDirection,
    ip_bytes: ByDirection,
    packets: ByDirection,
    unparsed: BTreeMap<&'static str, u64>,
    repeated_requests: u64,
    aborted_requests: u64,
    /// The most read keys.
    top_keys: Vec<KernelKey>,
    latency_ms: Quantiles,
    /// Absent where round trips are switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_ms: Option<Quantiles>,
    /// Absent where the program for them is not attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<ConnectionCounts>,
}

#[derive(Debug, Serialize)]
struct ByOperation {
    get: u64,
    set: u64,
}

#[derive(Debug, Serialize)]
struct ByDirection {
    receive: u64,
    transmit: u64,
}

impl ShardCounters {
    fn new(
        shard_id: u32,
        address: String,
        keys: &KeyTable,
        ShardReading { counters, latency, connections }: ShardReading,
    ) -> Self {
        let Counters { requests, traffic: Traffic { receive, transmit } } = counters;
        let both = |receive, transmit| ByDirection { receive, transmit };
        Self {
            shard_id,
            address,
            requests: ByOperation { get: requests.get, set: requests.set },
            control_requests: requests.control,
            payload_bytes: both(receive.payload_bytes, transmit.payload_bytes),
            ip_bytes: both(receive.ip_bytes, transmit.ip_bytes),
            packets: both(receive.packets, transmit.packets),
            unparsed: Reason::ALL.iter().map(|reason| reason.name()).zip(requests.unparsed).collect(),
            repeated_requests: requests.duplicate_segments,
            aborted_requests: requests.aborted,
            top_keys: keys.top(TOP_KEYS),
            latency_ms: Quantiles::of(&latency),
            rtt_ms: connections.and_then(|reading| reading.round_trips).as_ref().map(Quantiles::of),
            connections: connections.as_ref().map(ConnectionCounts::from),
        }
    }
}

/// All counters, read for this request; the keys at most [`TOP_KEYS_AGE`] before it.
///
/// # Errors
/// 503 when the kernel's counters cannot be read.
pub async fn shards(State(state): State<ApiState>) -> Result<Json<ShardsBody>, Problem> {
    let probe = &state.probe;
    let now = Instant::now();
    let tables = keys::tables(probe, now.checked_sub(TOP_KEYS_AGE).unwrap_or(now)).await?;
    let shards = probe.shards.iter().zip(&tables).map(|(url, (shard, keys))| {
        let shard = *shard;
        let all = probe.read(shard);
        let all = all.map_err(|error| Problem::new(ErrorKind::NotReady, error.to_string()))?;
        Ok(ShardCounters::new(shard, format!("{}:{}", url.host, url.port), keys, all))
    });
    let shards = shards.collect::<Result<_, Problem>>()?;
    Ok(Json(ShardsBody { taken_at: unix_seconds(), shards }))
}

/// `/status`.
#[derive(Debug, Serialize)]
pub struct StatusBody {
    kernel_release: String,
    cgroup: String,
    object_layout: u32,
    programs: Vec<ProgramStatus>,
    features: Vec<Feature>,
    privileges: PrivilegeStatus,
    itself: ItselfStatus,
    counting: Counting,
    shards: Vec<ShardStatus>,
}

/// What the probe costs and what it lost.
#[derive(Debug, Serialize)]
struct ItselfStatus {
    /// Absent where the kernel does not count it: see the feature `program_stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs: Option<Vec<ProgramRuns>>,
    maps: Vec<MapFill>,
    events_lost: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize)]
struct ShardStatus {
    shard_id: usize,
    url: String,
    addresses: Vec<String>,
    problem: Option<String>,
}

/// What is attached, what works, what was given up.
///
/// # Errors
/// 500 when `/proc` cannot be read, 503 when the kernel's counters cannot.
pub async fn status(State(state): State<ApiState>) -> Result<Json<StatusBody>, Problem> {
    let probe = &state.probe;
    let privileges =
        privileges::status().map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?;
    let unreadable = |error: SourceError| Problem::new(ErrorKind::NotReady, error.to_string());
    let itself = ItselfStatus {
        runs: probe.runs().map_err(unreadable)?,
        maps: probe.source().and_then(|mut source| source.fills()).map_err(unreadable)?,
        events_lost: probe.metrics.events_lost(),
    };
    let targets = probe.targets.lock().clone();
    let shards =
        probe.shards.iter().zip(targets.shards).enumerate().map(|(shard_id, (url, target))| ShardStatus {
            shard_id,
            url: url.to_string(),
            addresses: target.addresses.iter().map(ToString::to_string).collect(),
            problem: target.problem,
        });
    Ok(Json(StatusBody {
        kernel_release: kernel_release(),
        cgroup: probe.cgroup.display().to_string(),
        object_layout: LAYOUT,
        programs: probe.programs.clone(),
        features: features(probe),
        privileges,
        itself,
        counting: probe.counting.clone(),
        shards: shards.collect(),
    }))
}
