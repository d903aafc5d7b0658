//! Judges all shards by their counts at one moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::compare::verdict::agreement::Agreement;
use crate::compare::verdict::{KernelJudge, Reading, ShardReading};
use crate::probe::Probe;
use hotspot::judge::Evidence;
use protocol::probe_api::Verdicts;
use protocol::verdict::Verdict;
use service::clock::unix_seconds;

/// Maximum age of a table of keys. The brackets have just read the tables of the shards that answered at once.
const TABLE_AGE: Duration = Duration::from_millis(100);

/// State kept from second to second.
#[derive(Debug, Default)]
pub(super) struct Judge {
    kernel: KernelJudge,
    agreement: Agreement,
}

impl Judge {
    /// Whether a second has passed since the last verdict.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        self.kernel.is_due(now)
    }

    /// Judges the shards by the kernel's counts. With a `problem` there is no verdict, and the state is dropped.
    pub(super) async fn kernel(
        &mut self,
        probe: &Arc<Probe>,
        start: Instant,
        problem: Option<String>,
        evidence: Vec<Evidence>,
    ) -> Result<Verdict<String>, String> {
        if let Some(problem) = problem {
            self.kernel.start_over();
            return Err(problem);
        }
        // After a second without a reading the next slot is longer.
        let unreadable = || "the kernel's counters cannot be read".to_owned();
        let reading = read(probe, start, evidence).await.ok_or_else(unreadable)?;
        Ok(self.kernel.observe(reading))
    }

    /// Compares the verdict with the gateway's and publishes both.
    pub(super) fn compare(
        &mut self,
        probe: &Probe,
        now: Duration,
        kernel: Result<Verdict<String>, String>,
        gateway: Option<Result<Verdict<String>, String>>,
    ) {
        let verdicts = self.agreement.observe(now, unix_seconds(), kernel, gateway);
        probe.metrics.judged(&verdicts);
        let before = std::mem::replace(&mut *probe.verdicts.lock(), Arc::new(verdicts.clone()));
        tell(&before, &verdicts);
    }
}

/// Logs changes of the verdicts.
fn tell(before: &Verdicts, now: &Verdicts) {
    let state = |verdicts: &Verdicts| verdicts.kernel.as_ref().map(|verdict| verdict.state);
    if let (Some(verdict), Some(before)) = (&now.kernel, state(before))
        && verdict.state != before
    {
        tracing::info!(state = %verdict.state, %before, "{}", verdict.sentence);
    }
    if let (Some(false), Some(true) | None, Some(cause)) = (now.agree, before.agree, &now.cause) {
        tracing::warn!(cause, "the kernel's verdict is not the gateway's");
    }
}

/// Reads all shards' counts. Returns `None` when one cannot be read.
async fn read(probe: &Arc<Probe>, start: Instant, evidence: Vec<Evidence>) -> Option<Reading> {
    let requests = probe.shards.iter().map(|url| probe.counters(url.id.0));
    let requests: Vec<u64> =
        requests.map(|counters| Some(counters?.requests.data())).collect::<Option<_>>()?;
    let at = start.elapsed();
    let reader = Arc::clone(probe);
    let tables = tokio::task::spawn_blocking(move || {
        let now = Instant::now();
        let since = now.checked_sub(TABLE_AGE).unwrap_or(now);
        let tables = reader.shards.iter().map(|url| (url.id.0, reader.keys(url.id.0, since)));
        tables.collect::<Vec<_>>()
    });
    // Joining the task fails only when the runtime ends.
    let tables = tables.await.ok()?.into_iter();
    let tables = tables.map(|(shard, table)| probe.readable(shard, table)).collect::<Option<Vec<_>>>()?;
    let shards = requests.into_iter().zip(tables);
    let shards = shards.map(|(requests, table)| ShardReading { requests, table }).collect();
    Some(Reading { at, shards, evidence })
}
