//! Serves `/api/shards`: each shard's counts.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use probe_common::requests::Reason;
use probe_common::traffic::Traffic;
use protocol::ErrorKind;
use protocol::probe_api::{ByDirection, ByOperation, ConnectionCounts, ShardCounts, Shards};
use service::clock::unix_seconds;
use service::problem::Problem;

use super::keys::tables;
use super::state::ApiState;
use crate::probe::ShardReading;
use crate::signal::key_table::KeyTable;
use crate::signal::latency::quantiles;
use crate::source::Counters;

/// Number of keys per shard.
const TOP_KEYS: usize = 10;

/// Maximum age of their table: the pause between two frames of `probe top`.
const TOP_KEYS_AGE: Duration = Duration::from_millis(100);

/// All counters, read for this request. The keys are at most [`TOP_KEYS_AGE`] older. 503 when the kernel's counters
/// cannot be read.
pub(crate) async fn shards(State(state): State<ApiState>) -> Result<Json<Shards>, Problem> {
    let probe = &state.probe;
    let now = Instant::now();
    let tables = tables(probe, now.checked_sub(TOP_KEYS_AGE).unwrap_or(now)).await?;
    let watched = probe.shards.all();
    let shards = watched.iter().zip(&tables).map(|(watched, (shard, keys))| {
        let reading = probe.read(*shard);
        let reading = reading.map_err(|error| Problem::new(ErrorKind::NotReady, error.to_string()))?;
        Ok(body(*shard, watched.address.clone(), keys, &reading))
    });
    let shards = shards.collect::<Result<_, Problem>>()?;
    Ok(Json(Shards { taken_at: unix_seconds(), shards }))
}

fn body(shard_id: u32, address: String, keys: &KeyTable, reading: &ShardReading) -> ShardCounts {
    let ShardReading { counters: Counters { requests, traffic }, latency, connections } = reading;
    let Traffic { receive, transmit } = traffic;
    let both = |receive, transmit| ByDirection { receive, transmit };
    let reasons = Reason::ALL.iter().map(|reason| reason.name().to_owned());
    ShardCounts {
        shard_id,
        address,
        requests: ByOperation { get: requests.get, set: requests.set },
        control_requests: requests.control,
        payload_bytes: both(receive.payload_bytes, transmit.payload_bytes),
        ip_bytes: both(receive.ip_bytes, transmit.ip_bytes),
        packets: both(receive.packets, transmit.packets),
        unparsed: reasons.zip(requests.unparsed).collect(),
        repeated_requests: requests.duplicate_segments,
        aborted_requests: requests.unsettled(),
        never_read_requests: requests.never_read,
        top_keys: Some(keys.top(TOP_KEYS)),
        latency_ms: quantiles(latency),
        rtt_ms: connections.and_then(|reading| reading.round_trips).as_ref().map(quantiles),
        connections: connections.as_ref().map(ConnectionCounts::from),
    }
}
