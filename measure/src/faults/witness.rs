//! What verdicts, breakers and control paths say during a row.

use hotspot::verdict::{Reason, State};
use parking_lot::Mutex;
use protocol::body::{BreakerState, GatewayStats};
use protocol::probe_api::Verdicts;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::AFFECTED;
use super::stage::Stage;

/// Pause between two readings.
const PAUSE: Duration = Duration::from_millis(100);

/// Time for an answer of a control path.
const ANSWER: Duration = Duration::from_secs(2);

/// A verdict that was given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    /// When, since the load began.
    pub(crate) at: Duration,
    /// Whose verdict: `kernel` or `gateway`.
    pub(crate) by: &'static str,
    pub(crate) state: State,
    pub(crate) reason: Option<Reason>,
    pub(crate) shard: Option<usize>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Verdicts, when they changed or came again.
    pub(crate) verdicts: Vec<Given>,
    /// The times at which the affected shard's breaker was not closed.
    pub(crate) open: Vec<Duration>,
    /// `/ready` and `/metrics` of the gateway without an answer in time: when, and which.
    pub(crate) silent: Vec<(Duration, &'static str)>,
    /// The longest answer of them.
    pub(crate) slowest: Duration,
    /// Largest resident memory of the gateway in bytes.
    pub(crate) gateway_bytes: u64,
}

/// A witness that reads until it is ended.
pub(crate) struct Witness {
    seen: Arc<Mutex<Seen>>,
    readers: Vec<JoinHandle<()>>,
}

impl Witness {
    pub(crate) fn start(stage: &Stage, begin: Instant) -> anyhow::Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        // A new connection for each reading, as a scraper or a kubelet has.
        let client =
            reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(ANSWER).build()?;
        let verdicts = format!("http://{}/api/verdict", stage.lab.probe_addr());
        let gateway = |path: &str| stage.lab.at_gateway(path);
        let pid = stage.lab.gateway.pid();
        let readers = vec![
            tokio::spawn(read_verdicts(client.clone(), verdicts, Arc::clone(&seen), begin)),
            tokio::spawn(read_breakers(client.clone(), gateway("/stats"), Arc::clone(&seen), begin)),
            tokio::spawn(read_control(client.clone(), "/ready", gateway("/ready"), Arc::clone(&seen), begin)),
            tokio::spawn(read_control(client, "/metrics", gateway("/metrics"), Arc::clone(&seen), begin)),
            tokio::spawn(read_memory(pid, Arc::clone(&seen))),
        ];
        Ok(Self { seen, readers })
    }

    /// Stops, and returns what was seen.
    pub(crate) fn end(self) -> Seen {
        self.readers.iter().for_each(JoinHandle::abort);
        self.seen.lock().clone()
    }
}

async fn read_verdicts(client: reqwest::Client, url: String, seen: Arc<Mutex<Seen>>, begin: Instant) {
    loop {
        sleep(PAUSE).await;
        let at = begin.elapsed();
        // A probe that is killed or frozen gives no verdict.
        let Ok(answer) = client.get(&url).send().await else { continue };
        let Ok(verdicts) = answer.json::<Verdicts>().await else { continue };
        for (by, verdict) in [("kernel", verdicts.kernel), ("gateway", verdicts.gateway)] {
            let Some(verdict) = verdict else { continue };
            let (state, reason, shard) = (verdict.state, verdict.reason, verdict.shard_id);
            seen.lock().verdicts.push(Given { at, by, state, reason, shard });
        }
    }
}

async fn read_breakers(client: reqwest::Client, url: String, seen: Arc<Mutex<Seen>>, begin: Instant) {
    loop {
        let at = begin.elapsed();
        if let Ok(answer) = client.get(&url).send().await
            && let Ok(stats) = answer.json::<GatewayStats>().await
            && stats.breakers.get(AFFECTED).is_some_and(|breaker| breaker.state != BreakerState::Closed)
        {
            seen.lock().open.push(at);
        }
        sleep(PAUSE).await;
    }
}

async fn read_control(
    client: reqwest::Client,
    path: &'static str,
    url: String,
    seen: Arc<Mutex<Seen>>,
    begin: Instant,
) {
    loop {
        let asked = Instant::now();
        let answer = async { client.get(&url).send().await?.error_for_status()?.bytes().await };
        let answered = answer.await.is_ok();
        {
            let mut seen = seen.lock();
            if answered {
                seen.slowest = seen.slowest.max(asked.elapsed());
            } else {
                seen.silent.push((asked.saturating_duration_since(begin), path));
            }
        }
        sleep(PAUSE).await;
    }
}

async fn read_memory(pid: u32, seen: Arc<Mutex<Seen>>) {
    loop {
        let bytes = lab::process::resident_bytes(pid).unwrap_or(0);
        {
            let mut seen = seen.lock();
            seen.gateway_bytes = seen.gateway_bytes.max(bytes);
        }
        sleep(PAUSE).await;
    }
}
