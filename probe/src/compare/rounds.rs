//! Drives a loop of readings: one a second, and fresh ones on request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::compare::feed::ShardSample;
use crate::compare::snapshot::Snapshot;
use crate::probe::Probe;

/// Interval of readings.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

/// Pause between readings while a comparison is about to become final.
const SETTLING_PAUSE: Duration = Duration::from_millis(50);

/// Maximum time that a fresh comparison waits for a final result.
const SETTLING_MAX: Duration = Duration::from_millis(1_500);

/// Maximum number of queued requests for a comparison. Further callers wait.
const QUEUE_LENGTH: usize = 256;

/// Requests comparisons from the loop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CompareHandle(mpsc::Sender<oneshot::Sender<Snapshot>>);

/// The requests of all handles.
pub(crate) type Requests = mpsc::Receiver<oneshot::Sender<Snapshot>>;

impl CompareHandle {
    /// A handle, and the requests that come through it.
    pub(crate) fn channel() -> (Self, Requests) {
        let (sender, requests) = mpsc::channel(QUEUE_LENGTH);
        (Self(sender), requests)
    }

    /// A comparison that began after this call. Returns `None` when the probe is stopping. Concurrent calls share one
    /// comparison.
    pub(crate) async fn fresh(&self) -> Option<Snapshot> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(sender).await.ok()?;
        receiver.await.ok()
    }
}

/// What the loop reads.
pub(crate) trait Rounds: Send {
    /// The probe that the loop belongs to.
    fn probe(&self) -> &Arc<Probe>;

    /// The requests for fresh comparisons.
    fn requests(&mut self) -> &mut Requests;

    /// Follows the addresses and takes the reading of this second, with what the live pages get.
    fn look(&mut self) -> impl Future<Output = (Snapshot, Vec<Option<ShardSample>>)> + Send;

    /// Takes another reading.
    fn look_again(&mut self) -> impl Future<Output = Snapshot> + Send;

    /// Whether another reading soon could make the comparison final.
    fn is_settling(&self, snapshot: &Snapshot) -> bool;
}

/// Runs until `stopping`, then reads the counters a last time and detaches.
pub(crate) async fn run(mut rounds: impl Rounds, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stopping.cancelled() => break,
            request = rounds.requests().recv() => {
                let Some(request) = request else { break };
                answer(&mut rounds, request).await;
            }
            _ = ticks.tick() => {
                let (snapshot, seen) = rounds.look().await;
                let probe = rounds.probe();
                probe.feed.publish(&snapshot, seen, &probe.verdicts.lock());
            }
        }
    }
    rounds.probe().finish();
}

async fn answer(rounds: &mut impl Rounds, request: oneshot::Sender<Snapshot>) {
    // All requests queued by now get the same answer.
    let mut waiting = vec![request];
    while let Ok(another) = rounds.requests().try_recv() {
        waiting.push(another);
    }
    let snapshot = settle(rounds).await;
    for caller in waiting {
        // Sending fails when the caller no longer waits.
        let _ = caller.send(snapshot.clone());
    }
}

/// Repeats the reading while the counts do not change and a comparison is about to become final.
pub(crate) async fn settle(rounds: &mut impl Rounds) -> Snapshot {
    let deadline = Instant::now() + SETTLING_MAX;
    loop {
        let snapshot = rounds.look_again().await;
        if !rounds.is_settling(&snapshot) || Instant::now() >= deadline {
            return snapshot;
        }
        tokio::time::sleep(SETTLING_PAUSE).await;
    }
}
