//! Serves `/api/keys`: each shard's keys, as the kernel counts them.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use protocol::ErrorKind;
use protocol::probe_api::{KeyTables, ShardKeyTable};
use serde::Deserialize;
use service::problem::Problem;

use crate::probe::Probe;
use crate::serve::state::ApiState;
use crate::signal::key_table::KeyTable;
use crate::signal::keys::CAPACITY;
use crate::source::SourceError;
use service::clock::unix_seconds;

/// Default number of keys per shard.
const DEFAULT_LIMIT: usize = 20;

/// Maximum number of keys in one answer: about 13 MiB.
const MAX_KEYS: usize = 65_536;

/// The query parameters.
#[derive(Debug, Deserialize)]
pub(crate) struct KeysQuery {
    /// Maximum number of keys per shard.
    limit: Option<usize>,
}

/// The tables, read for this request. 400 when the query is invalid, 503 when the tables cannot be read.
pub(crate) async fn keys(
    State(state): State<ApiState>,
    wanted: Result<Query<KeysQuery>, QueryRejection>,
) -> Result<Json<KeyTables>, Problem> {
    let Query(wanted) = wanted.map_err(|_| {
        Problem::new(
            ErrorKind::BadRequest,
            "invalid query; allowed: limit=N, the maximum number of keys per shard",
        )
    })?;
    let tables = tables(&state.probe, Instant::now()).await?;
    let limit = limit(wanted.limit, tables.len());
    let shards = tables.into_iter().map(|(shard_id, table)| ShardKeyTable {
        shard_id,
        capacity: CAPACITY,
        used: table.used,
        evictions: table.evictions,
        keys: table.top(limit),
    });
    Ok(Json(KeyTables { taken_at: unix_seconds(), shards: shards.collect() }))
}

/// The number of keys per shard, limited by the table and by the size of the answer.
fn limit(wanted: Option<usize>, shards: usize) -> usize {
    wanted.unwrap_or(DEFAULT_LIMIT).min(CAPACITY).min(MAX_KEYS / shards.max(1))
}

/// Every shard's table, with a reading begun at `since` or later. 503 when a table cannot be read.
pub(crate) async fn tables(probe: &Arc<Probe>, since: Instant) -> Result<Vec<(u32, Arc<KeyTable>)>, Problem> {
    let all = move |probe: &Probe| -> Result<Vec<_>, SourceError> {
        probe.shards.all().iter().map(|shard| Ok((shard.id, probe.keys(shard.id, since)?))).collect()
    };
    let read = probe.read_tables(all).await;
    let read = read.map_err(|error| Problem::new(ErrorKind::Internal, error.to_string()))?;
    read.map_err(|error| Problem::new(ErrorKind::NotReady, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_bounded_keys_whatever_is_asked_for() {
        assert_eq!([None, Some(0), Some(3), Some(100_000)].map(|wanted| limit(wanted, 4)), [20, 0, 3, 8_192]);
        assert_eq!([Some(1_000), Some(usize::MAX)].map(|wanted| limit(wanted, 64)), [1_000, 1_024]);
    }
}
