//! Sends each request when it is due, independent of earlier answers.

use protocol::body::AnswerFault;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

use crate::answer::ValidAnswer;
use crate::progress::Progress;
use crate::scenario::Stream;
use crate::schedule::Schedule;
use crate::tally::Tally;

/// Sends the requests of one stream. Each connection has one request at a time.
pub trait Requests: Send + Sync + 'static {
    /// A connection to the target. It is opened by the first request and reopened after an error.
    type Connection: Send + 'static;

    /// A connection that is not open yet.
    fn connection(&self) -> Self::Connection;

    /// Sends the request for a key, an index into the stream's keys, and checks the answer.
    fn send(
        &self,
        connection: &mut Self::Connection,
        key: usize,
    ) -> impl Future<Output = Result<ValidAnswer, AnswerFault>> + Send;
}

/// The state that all streams of a run share.
#[derive(Clone)]
pub struct Shared {
    /// Number of shards that keys are placed on.
    pub shards: NonZeroU32,
    /// When the schedules start.
    pub start: Instant,
    /// The counts of all streams so far.
    pub progress: Arc<Progress>,
}

/// The result of one request.
struct Done<C> {
    connection: C,
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
pub async fn run<R: Requests>(
    stream: Stream,
    schedule: Schedule,
    seed: u64,
    requests: R,
    shared: Shared,
) -> std::io::Result<Tally> {
    let mut draws = stream.keys.draws(seed).over(schedule.count());
    let mut idle: Vec<_> = (0..stream.max_in_flight).map(|_| requests.connection()).collect();
    let requests = Arc::new(requests);

    let (sender, mut due) = unbounded_channel();
    schedule.release(seed, shared.start, sender)?;
    let mut tally = Tally::new(shared.shards.get() as usize);
    let mut in_flight = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            // Handled first: a connection that becomes idle is available to the next request.
            Some(done) = in_flight.join_next() => count(done, &mut tally, &mut idle, &requests, &shared),
            next = due.recv() => {
                let Some(due) = next else { break };
                // A key is drawn for a dropped request too, so that the sequence of keys depends on the seed alone.
                let key = draws.draw();
                match idle.pop() {
                    Some(connection) => {
                        drop(in_flight.spawn(send(connection, key, due, shared.start, Arc::clone(&requests))));
                    }
                    None => tally.dropped += 1,
                }
            }
        }
    }
    while let Some(done) = in_flight.join_next().await {
        count(done, &mut tally, &mut idle, &requests, &shared);
    }
    Ok(tally)
}

async fn send<R: Requests>(
    mut connection: R::Connection,
    key: usize,
    due: Instant,
    start: Instant,
    requests: Arc<R>,
) -> Done<R::Connection> {
    let sent = Instant::now();
    let result = requests.send(&mut connection, key).await;
    Done { key, lag: sent - due, since_start: sent - start, latency: due.elapsed(), result, connection }
}

fn count<R: Requests>(
    done: Result<Done<R::Connection>, tokio::task::JoinError>,
    tally: &mut Tally,
    idle: &mut Vec<R::Connection>,
    requests: &Arc<R>,
    shared: &Shared,
) {
    shared.progress.sent.fetch_add(1, Ordering::Relaxed);
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
            idle.push(requests.connection());
            true
        }
    };
    shared.progress.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
}
