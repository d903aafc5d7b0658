//! The gateway as a third witness: finds requests that bypassed it.
//!
//! The gateway counts a request when its answer comes, the shard when it reads it, the kernel before that. So kernel
//! and gateway are compared just as kernel and shard are, by the same [`Ledger`]; what the shard has in its hands is on
//! its way to the gateway's count. What then is beyond the bound did not come from the gateway. A gateway or a shard
//! that starts anew gets a new baseline; a reset of the gateway's statistics does not touch the counts that are read.

use std::time::Duration;

use probe_common::requests::REASONS;
use protocol::ShardId;
use protocol::probe_api::Comparison;
use protocol::verdict::Verdict;

use crate::compare::reconcile::cause::Cause;
use crate::compare::reconcile::{AppReading, Bracket, Ledger};
use crate::compare::stats_client::{GatewayReading, StatsClient};
use crate::source::Counters;

mod group;
pub mod urls;

use self::group::GatewayGroup;
use self::urls::GatewayUrls;

/// The gateway, or all there are, and what is known of each shard's requests from it.
#[derive(Debug)]
pub(crate) struct Gateway {
    group: GatewayGroup,
    shards: Vec<SentLedger>,
    verdict: Result<Verdict<String>, String>,
}

impl Gateway {
    /// Gateways in front of so many shards.
    pub(crate) fn new(urls: GatewayUrls, shards: usize) -> Self {
        let group = GatewayGroup::new(urls, shards);
        let shards = (0..shards).map(|_| SentLedger::default()).collect();
        Self { group, shards, verdict: Err("it has not been asked yet".to_owned()) }
    }

    /// Its verdict as last read, or why there is none.
    pub(crate) fn verdict(&self) -> Result<Verdict<String>, String> {
        self.verdict.clone()
    }

    /// Forgets all of one shard: the kernel counts something else for it now.
    pub(crate) fn start_over(&mut self, shard: usize) {
        if let Some(ledger) = self.shards.get_mut(shard) {
            *ledger = SentLedger::default();
        }
    }

    /// Whether another bracket soon would tell more.
    pub(crate) fn is_settling(&self) -> bool {
        self.shards.iter().any(|shard| shard.settling)
    }

    /// Reads the gateway between the shards' own brackets and another reading of the kernel, and adds to the
    /// comparisons what that tells.
    pub(crate) async fn compare(
        &mut self,
        stats: &StatsClient,
        brackets: &[Option<Bracket>],
        kernel: impl Fn(u32) -> Option<Counters>,
        now: impl Fn() -> Duration,
        comparisons: &mut [Comparison],
    ) {
        let reading = self.group.sent(stats).await;
        let shards = self.shards.iter_mut().zip(brackets).zip(comparisons);
        for (id, ((ledger, bracket), comparison)) in (0..).zip(shards) {
            let Some(bracket) = bracket else { continue };
            let Some(after) = kernel(id) else { continue };
            let wider = Bracket {
                to: now(),
                kernel_after: after.requests.data(),
                undecided: after.requests.undecided(),
                ..bracket.clone()
            };
            ledger.observe(&wider, &of_shard(&reading, id), comparison);
        }
        if self.group.is_one() {
            let verdict = |reading: GatewayReading| reading.verdict;
            self.verdict =
                reading.map(verdict).and_then(|found| found.ok_or_else(|| "its /stats have none".to_owned()));
        }
    }

    /// Judges what several gateways sent together; to be called once a second. One gives its own verdict.
    pub(crate) async fn judge(&mut self, stats: &StatsClient) {
        if !self.group.is_one() {
            self.verdict = self.group.judge(stats).await;
        }
    }
}

fn of_shard(reading: &Result<GatewayReading, String>, shard: u32) -> Result<(f64, u64), String> {
    let reading = reading.as_ref().map_err(Clone::clone)?;
    let sent = reading.sent.iter().find(|sent| sent.shard_id == ShardId(shard));
    let sent = sent.ok_or_else(|| format!("it says nothing of shard {shard}"))?;
    Ok((reading.started_at, sent.requests))
}

/// One shard's requests from the gateway.
#[derive(Debug, Default)]
struct SentLedger {
    ledger: Ledger,
    /// The shard's process.
    started_at: f64,
    /// What the shard had in its hands last time.
    active: u64,
    settling: bool,
}

impl SentLedger {
    /// `bracket` is the shard's own, made to end after the gateway's reading (its start, and what it has sent).
    fn observe(&mut self, bracket: &Bracket, sent: &Result<(f64, u64), String>, comparison: &mut Comparison) {
        self.settling = false;
        let Ok(app) = &bracket.app else { return };
        if app.started_at.to_bits() != self.started_at.to_bits() {
            // What a shard had in its hands when it ended is in no count but the gateway's.
            *self = Self { started_at: app.started_at, ..Self::default() };
        }
        let seen = self.ledger.observe(&Bracket {
            app: sent.clone().map(|(started_at, sent)| AppReading {
                requests_received: sent,
                started_at,
                active_requests: app.active_requests,
            }),
            // The gateway counts what it gave up on, too.
            aborted: 0,
            answered: 0,
            repeated: 0,
            unparsed: [0; REASONS],
            ..bracket.clone()
        });
        self.settling = self.ledger.is_settling(&seen);
        // What was answered after the gateway's reading was in the shard's hands at one of these moments.
        let in_service = app.active_requests.max(self.active);
        self.active = app.active_requests;
        let surely = |difference: i64, bound: u64| {
            u64::try_from(difference).unwrap_or(0).saturating_sub(bound.saturating_add(in_service))
        };
        let bypassed = seen.difference.zip(seen.bound).map(|(difference, bound)| surely(difference, bound));
        comparison.bypassed = bypassed;
        if bypassed.is_some() {
            (comparison.gateway, comparison.gateway_since) = (seen.app, seen.since);
        }
        match (bypassed, sent) {
            (Some(count @ 1..), _) => Cause::bypassed(count).add_to(comparison),
            (_, Err(problem)) => Cause::gateway_unreadable(problem).add_to(comparison),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
