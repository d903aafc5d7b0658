//! Drives a loop of readings: one a second, and fresh ones on request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};
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

/// How long a caller waits for the next comparison. A shard that does not answer delays it by a second or two.
const NEXT_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests comparisons from the loop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CompareHandle {
    requests: mpsc::Sender<Request>,
    newest: watch::Receiver<Snapshot>,
}

/// A request for a comparison.
#[derive(Debug)]
struct Request {
    caller: oneshot::Sender<Snapshot>,
    /// Whether the caller waits for a final result, and not just for the next one.
    until_final: bool,
}

/// The requests of all handles.
#[derive(Debug)]
pub(crate) struct Requests {
    received: mpsc::Receiver<Request>,
    newest: watch::Sender<Snapshot>,
}

impl CompareHandle {
    /// A handle, and the requests that come through it.
    pub(crate) fn channel() -> (Self, Requests) {
        let (requests, received) = mpsc::channel(QUEUE_LENGTH);
        let newest = watch::Sender::new(Snapshot::default());
        (Self { requests, newest: newest.subscribe() }, Requests { received, newest })
    }

    /// A comparison that began after this call. Returns `None` when the probe is stopping. Concurrent calls share one
    /// comparison.
    pub(crate) async fn fresh(&self) -> Option<Snapshot> {
        self.request(true).await
    }

    /// The same, without a wait for a final result. After [`NEXT_TIMEOUT`] it is the newest comparison.
    pub(crate) async fn next(&self) -> Option<Snapshot> {
        let next = tokio::time::timeout(NEXT_TIMEOUT, self.request(false)).await;
        next.unwrap_or_else(|_| Some(self.newest.borrow().clone()))
    }

    async fn request(&self, until_final: bool) -> Option<Snapshot> {
        let (caller, receiver) = oneshot::channel();
        self.requests.send(Request { caller, until_final }).await.ok()?;
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
            request = rounds.requests().received.recv() => {
                let Some(request) = request else { break };
                answer(&mut rounds, request).await;
                // Requests may follow each other without a pause, as a reading takes a second while a shard does not
                // answer. Its new address would never be looked up.
                if ticks.tick().now_or_never().is_some() {
                    look(&mut rounds).await;
                }
            }
            _ = ticks.tick() => look(&mut rounds).await,
        }
    }
    rounds.probe().finish();
}

/// Takes the reading of this second and publishes it.
async fn look(rounds: &mut impl Rounds) {
    let (snapshot, seen) = rounds.look().await;
    let snapshot = Snapshot { settling: rounds.is_settling(&snapshot), ..snapshot };
    rounds.requests().newest.send_replace(snapshot.clone());
    let probe = rounds.probe();
    probe.feed.publish(&snapshot, seen, &probe.verdicts.lock());
}

async fn answer(rounds: &mut impl Rounds, request: Request) {
    // All requests queued by now get the same answer.
    let mut waiting = vec![request];
    while let Ok(another) = rounds.requests().received.try_recv() {
        waiting.push(another);
    }
    let (patient, hasty): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|request| request.until_final);
    let send = |requests: Vec<Request>, snapshot: &Snapshot| {
        for request in requests {
            // Sending fails when the caller no longer waits.
            let _ = request.caller.send(snapshot.clone());
        }
    };
    if !hasty.is_empty() {
        let snapshot = look_again(rounds).await;
        send(hasty, &snapshot);
    }
    if !patient.is_empty() {
        let snapshot = settle(rounds).await;
        send(patient, &snapshot);
    }
}

/// Repeats the reading while the counts do not change and a comparison is about to become final.
pub(crate) async fn settle(rounds: &mut impl Rounds) -> Snapshot {
    let deadline = Instant::now() + SETTLING_MAX;
    loop {
        let snapshot = look_again(rounds).await;
        if !snapshot.settling || Instant::now() >= deadline {
            return snapshot;
        }
        tokio::time::sleep(SETTLING_PAUSE).await;
    }
}

async fn look_again(rounds: &mut impl Rounds) -> Snapshot {
    let snapshot = rounds.look_again().await;
    let snapshot = Snapshot { settling: rounds.is_settling(&snapshot), ..snapshot };
    rounds.requests().newest.send_replace(snapshot.clone());
    snapshot
}

#[cfg(test)]
mod tests {
    use protocol::shard_urls::ShardUrls;
    use service::metrics::Metrics;

    use super::*;
    use crate::kernel::cgroup::Cgroup;
    use crate::kernel::object::Switches;
    use crate::metrics::ProbeMetrics;
    use crate::source::ReplaySource;

    /// A loop whose readings are slow.
    struct Slow {
        probe: Arc<Probe>,
        requests: Requests,
        looks: Arc<std::sync::atomic::AtomicU32>,
    }

    impl Rounds for Slow {
        fn probe(&self) -> &Arc<Probe> {
            &self.probe
        }

        fn requests(&mut self) -> &mut Requests {
            &mut self.requests
        }

        async fn look(&mut self) -> (Snapshot, Vec<Option<ShardSample>>) {
            self.looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            (self.look_again().await, Vec::new())
        }

        async fn look_again(&mut self) -> Snapshot {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Snapshot::default()
        }

        fn is_settling(&self, _: &Snapshot) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn requests_without_a_pause_do_not_keep_the_loop_from_looking() {
        let metrics = ProbeMetrics::register(&Metrics::default(), 1).unwrap();
        let probe = Probe::new(
            ShardUrls::parse("http://shard:9000").unwrap(),
            Cgroup::at("/cgroup".into()),
            Vec::new(),
            Switches::default(),
            metrics,
            Box::new(ReplaySource::default()),
        );
        let (handle, requests) = CompareHandle::channel();
        let looks = Arc::default();
        let slow = Slow { probe: Arc::new(probe), requests, looks: Arc::clone(&looks) };
        let stopping = CancellationToken::new();
        let running = tokio::spawn(run(slow, stopping.clone()));
        // A request is queued during each reading, as those of an aggregator and of pages are.
        let calling = tokio::spawn(async move {
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..35 {
                let handle = handle.clone();
                calls.spawn(async move { handle.fresh().await.is_some() });
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            calls.join_all().await
        });
        tokio::time::sleep(Duration::from_secs(4)).await;
        let answers = calling.await.unwrap();
        stopping.cancel();
        running.await.unwrap();
        let looks = looks.load(std::sync::atomic::Ordering::SeqCst);
        assert!((3..=5).contains(&looks), "{looks} in four seconds");
        assert!(answers.len() == 35 && answers.iter().all(|answered| *answered), "{answers:?}");
    }
}
