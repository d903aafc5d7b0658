//! Writes the keys that a load reads.
//!
//! The lab's shards create a key at its first read. A store does not, so the keys are written before the load.

use protocol::Key;
use protocol::body::AnswerFault;
use serde_json::json;
use service::clock::unix_seconds;
use std::collections::HashSet;
use store::reply::Reply;
use store::request::encode;
use store::slot::slot;

use super::cluster::Cluster;
use super::connections::Connections;
use crate::error::RunError;
use crate::scenario::{Operation, Stream};

/// Start of the `data` in a value, before the key, as in the lab's shards.
pub(super) const PREFIX: &str = "auto-generated-";

/// Writes the keys of all streams that read, with the values of the lab's shards. Keys that exist keep their values.
/// Returns the number of commands.
///
/// # Errors
/// Returns an error when a node refuses a key or does not answer.
pub async fn write(cluster: &Cluster, streams: &[Stream]) -> Result<u64, RunError> {
    let reads = streams.iter().filter(|stream| stream.operation == Operation::Read);
    let keys: HashSet<&Key> = reads.flat_map(|stream| stream.keys.keys()).collect();
    let (mut connections, mut sent) = (Connections::default(), 0);
    for key in keys {
        let key = key.as_str();
        let value = json!({"data": format!("{PREFIX}{key}"), "created_at": unix_seconds().trunc()});
        let bytes = encode(&["SET", key, &value.to_string(), "NX"]);
        let slot = slot(key.as_bytes());
        let why = match connections.command(cluster, slot, &bytes).await {
            Ok(Reply::Text(_) | Reply::Null) => {
                sent += 1;
                continue;
            }
            Ok(_) | Err(AnswerFault::Status) => "the store refuses SET",
            Err(_) => "no answer",
        };
        let to = cluster.owner(slot);
        return Err(RunError::Store {
            urls: format!("redis://{to}"),
            why: format!("{key} cannot be written: {why}"),
        });
    }
    Ok(sent)
}
