//! Sends a stream's commands to a store, and checks the replies.

use protocol::body::AnswerFault;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::reply::Reply;
use store::request::encode;
use store::slot::slot;
use tokio::sync::Mutex;

use super::cluster::Cluster;
use super::connections::Connections;
use super::seed::PREFIX;
use crate::answer::{Origin, ValidAnswer};
use crate::open_loop::Requests;
use crate::scenario::{CACHE_TTL_SECONDS, Operation, Stream};

/// The time to live of the client-side cache.
const TTL: Duration = Duration::from_secs(CACHE_TTL_SECONDS as u64);

/// The commands of a stream.
pub struct StoreRequests {
    cluster: Arc<Cluster>,
    operation: Operation,
    /// By key: name, slot and encoded command.
    commands: Vec<(String, u16, Vec<u8>)>,
    /// A client-side cache: by key, until when its value is fresh. A reader holds the lock during its fetch, so that
    /// the others wait for its result.
    cache: Option<Vec<Mutex<Option<Instant>>>>,
}

/// A value as [`seed`](super::seed) or the lab's shards write it.
#[derive(Deserialize)]
struct StoredValue {
    data: Option<String>,
}

impl StoreRequests {
    /// The commands of a stream; through a client-side cache if `caches` is set.
    #[must_use]
    pub fn new(stream: &Stream, cluster: &Arc<Cluster>, caches: bool) -> Self {
        let commands = stream.keys.keys().iter().map(|key| {
            let key = key.as_str();
            let bytes = match stream.operation {
                Operation::Read | Operation::ReadAbsent => encode(&["GET", key]),
                Operation::Write => encode(&["SET", key, r#"{"written":true}"#]),
            };
            (key.to_owned(), slot(key.as_bytes()), bytes)
        });
        let cache = caches.then(|| stream.keys.keys().iter().map(|_| Mutex::default()).collect());
        Self {
            cluster: Arc::clone(cluster),
            operation: stream.operation,
            commands: commands.collect(),
            cache,
        }
    }

    async fn fetch(&self, connections: &mut Connections, at: usize) -> Result<ValidAnswer, AnswerFault> {
        let (key, slot, bytes) = &self.commands[at];
        let reply = connections.command(&self.cluster, *slot, bytes).await?;
        check(self.operation, key, &reply)?;
        Ok(ValidAnswer { shard: self.cluster.shard(*slot), origin: Origin::Shard })
    }
}

impl Requests for StoreRequests {
    type Connection = Connections;

    fn connection(&self) -> Connections {
        Connections::default()
    }

    async fn send(&self, connections: &mut Connections, key: usize) -> Result<ValidAnswer, AnswerFault> {
        let Some(cache) = &self.cache else { return self.fetch(connections, key).await };
        let (mut fresh_until, origin) = match cache[key].try_lock() {
            Ok(entry) => (entry, Origin::Cache),
            Err(_) => (cache[key].lock().await, Origin::Coalesced),
        };
        if fresh_until.is_some_and(|until| Instant::now() < until) {
            return Ok(ValidAnswer { shard: self.cluster.shard(self.commands[key].1), origin });
        }
        let answer = self.fetch(connections, key).await?;
        *fresh_until = Some(Instant::now() + TTL);
        Ok(answer)
    }
}

/// Checks a reply: the value of `key`, no value for an absent key, or `OK` for a write.
fn check(operation: Operation, key: &str, reply: &Reply) -> Result<(), AnswerFault> {
    match (operation, reply) {
        (Operation::ReadAbsent, Reply::Null) => Ok(()),
        (Operation::Write, Reply::Text(text)) if text == b"OK" => Ok(()),
        (Operation::Read, Reply::Text(value)) => {
            let value: StoredValue = serde_json::from_slice(value).map_err(|_| AnswerFault::Body)?;
            // A written value has no key.
            let is_of_key = |data: String| data.strip_prefix(PREFIX) == Some(key);
            if value.data.is_none_or(is_of_key) { Ok(()) } else { Err(AnswerFault::WrongKey) }
        }
        _ => Err(AnswerFault::Status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_checked_by_operation() {
        let text = |text: &str| Reply::Text(text.as_bytes().to_vec());
        let stored = text(r#"{"data":"auto-generated-k","created_at":1}"#);
        for (operation, reply, expected) in [
            (Operation::Read, stored.clone(), Ok(())),
            (Operation::Read, text(r#"{"written":true}"#), Ok(())),
            (Operation::Read, text(r#"{"data":"auto-generated-other"}"#), Err(AnswerFault::WrongKey)),
            (Operation::Read, text("other"), Err(AnswerFault::Body)),
            (Operation::Read, Reply::Null, Err(AnswerFault::Status)),
            (Operation::ReadAbsent, Reply::Null, Ok(())),
            (Operation::ReadAbsent, stored, Err(AnswerFault::Status)),
            (Operation::Write, text("OK"), Ok(())),
            (Operation::Write, Reply::Null, Err(AnswerFault::Status)),
        ] {
            assert_eq!(check(operation, "k", &reply), expected, "{operation:?} {reply:?}");
        }
    }
}
