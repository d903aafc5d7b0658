//! Sends each request when it is due, independent of earlier answers.

use protocol::body::AnswerFault;
use protocol::{Key, ShardId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

use crate::answer::{self, Expected, ExpectedBody, ValidAnswer};
use crate::client::{self, Connection};
use crate::gateway::Topology;
use crate::progress::Progress;
use crate::scenario::{Operation, Stream};
use crate::schedule::Schedule;
use crate::tally::Tally;

/// The target and the start, shared by all streams of a run.
#[derive(Clone)]
pub struct Target {
    /// The gateway's address.
    pub addr: SocketAddr,
    /// The `Host` header of requests.
    pub host: String,
    /// The gateway's settings.
    pub topology: Topology,
    /// When the schedules start.
    pub start: Instant,
    /// The counts of all streams so far.
    pub progress: Arc<Progress>,
}

/// The encoded requests for a stream's keys.
struct Requests {
    stream: Stream,
    bytes: Vec<Vec<u8>>,
    owners: Vec<ShardId>,
    target: Target,
}

/// The result of one request.
struct Done {
    connection: Connection,
    key: usize,
    lag: Duration,
    since_start: Duration,
    latency: Duration,
    result: Result<ValidAnswer, AnswerFault>,
}

/// Runs one stream to its end and returns its counts.
///
/// # Errors
/// Returns an error when the thread of the schedule cannot be started.
pub async fn run(stream: Stream, schedule: Schedule, seed: u64, target: Target) -> std::io::Result<Tally> {
    let shards = target.topology.shards;
    let mut draws = stream.keys.draws(seed).over(schedule.count());
    let mut idle: Vec<_> = (0..stream.max_in_flight).map(|_| Connection::new(target.addr)).collect();
    let keys = stream.keys.keys().iter();
    let bytes = keys.map(|key| request(&target.host, stream.operation, key)).collect();
    let owners = stream.keys.owners(shards);
    let requests = Arc::new(Requests { owners, bytes, stream, target: target.clone() });

    let (sender, mut due) = unbounded_channel();
    schedule.release(seed, target.start, sender)?;
    let mut tally = Tally::new(shards.get() as usize);
    let mut in_flight = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            // Handled first: a connection that becomes idle is available to the next request.
            Some(done) = in_flight.join_next() => count(done, &mut tally, &mut idle, &target),
            next = due.recv() => {
                let Some(due) = next else { break };
                // A key is drawn for a dropped request too, so that the sequence of keys depends on the seed alone.
                let key = draws.draw();
                match idle.pop() {
                    Some(connection) => {
                        drop(in_flight.spawn(send(connection, key, due, Arc::clone(&requests))));
                    }
                    None => tally.dropped += 1,
                }
            }
        }
    }
    while let Some(done) = in_flight.join_next().await {
        count(done, &mut tally, &mut idle, &target);
    }
    Ok(tally)
}

/// Builds the request of a stream for a key.
fn request(host: &str, operation: Operation, key: &Key) -> Vec<u8> {
    match operation {
        Operation::Read | Operation::ReadAbsent => {
            client::get(host, &format!("/data/{}", key.to_path_segment()))
        }
        Operation::Write => {
            let body = serde_json::json!({"key": key.as_str(), "value": {"written": true}});
            client::post(host, "/data", &body.to_string())
        }
    }
}

async fn send(mut connection: Connection, key: usize, due: Instant, requests: Arc<Requests>) -> Done {
    let sent = Instant::now();
    let (stream, target) = (&requests.stream, &requests.target);
    let expected = Expected {
        body: match stream.operation {
            Operation::Read => ExpectedBody::GatewayGet,
            Operation::ReadAbsent => ExpectedBody::NotFound,
            Operation::Write => ExpectedBody::GatewaySet,
        },
        key: stream.keys.keys()[key].as_str(),
        owner: requests.owners[key],
        shards: target.topology.shards.get(),
        any_shard: target.topology.any_shard,
    };
    let answer = connection.send(&requests.bytes[key]).await;
    let latency = due.elapsed();
    let result = answer::check(answer, &expected);
    Done { key, lag: sent - due, since_start: sent - target.start, latency, result, connection }
}

fn count(
    done: Result<Done, tokio::task::JoinError>,
    tally: &mut Tally,
    idle: &mut Vec<Connection>,
    target: &Target,
) {
    target.progress.sent.fetch_add(1, Ordering::Relaxed);
    let failed = match done {
        Ok(done) => {
            tally.sent(done.key, done.lag, done.since_start);
            tally.ended(done.result, done.latency);
            idle.push(done.connection);
            done.result.is_err()
        }
        // A panic in a request's task counts as an error.
        Err(_) => {
            tally.sent += 1;
            *tally.faults.entry(AnswerFault::Transport).or_default() += 1;
            idle.push(Connection::new(target.addr));
            true
        }
    };
    target.progress.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
}
