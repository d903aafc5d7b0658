//! Judges all shards by their counts at one moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::compare::verdict::agreement::Agreement;
use crate::compare::verdict::{KernelJudge, reading};
use crate::probe::Probe;
use hotspot::judge::Evidence;
use protocol::probe_api::Verdicts;
use protocol::verdict::Verdict;
use service::clock::unix_seconds;

/// State kept from second to second.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    kernel: KernelJudge,
    agreement: Agreement,
}

impl Judge {
    /// Whether a second has passed since the last verdict.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.kernel.is_due(now)
    }

    /// Judges the shards by the kernel's counts. With a `problem` there is no verdict, and the state is dropped.
    pub(crate) async fn kernel(
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
        let reading = reading::read(probe, start, evidence).await.ok_or_else(unreadable)?;
        Ok(self.kernel.observe(reading))
    }

    /// Compares the verdict with the gateway's and publishes both.
    pub(crate) fn compare(
        &mut self,
        probe: &Probe,
        now: Duration,
        kernel: Result<Verdict<String>, String>,
        gateway: Option<Result<Verdict<String>, String>>,
    ) {
        let verdicts = self.agreement.observe(now, unix_seconds(), kernel, gateway);
        probe.metrics.judged(&verdicts);
        let before = std::mem::replace(&mut *probe.verdicts.lock(), Arc::new(verdicts.clone()));
        log_change(&before, &verdicts);
    }
}

/// Logs changes of the verdicts.
fn log_change(before: &Verdicts, now: &Verdicts) {
    let state = |verdicts: &Verdicts| verdicts.kernel.as_ref().map(|verdict| verdict.state);
    if let (Some(verdict), Some(before)) = (&now.kernel, state(before))
        && verdict.state != before
    {
        tracing::info!(state = %verdict.state, %before, "{}", verdict.sentence);
    }
    if let (Some(false), Some(true) | None, Some(cause)) = (now.agree, before.agree, &now.cause) {
        tracing::warn!(cause, "the verdicts of kernel and gateway differ");
    }
}
