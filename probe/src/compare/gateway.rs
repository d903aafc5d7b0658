//! Finds requests that bypassed the gateway.
//!
//! The gateway counts a request when its answer arrives, the shard when it reads it, and the kernel before that. So
//! the same [`Ledger`] compares kernel with gateway and kernel with shard. Requests in service at the shard are not in
//! the gateway's count yet. A difference beyond the bound did not come from the gateway.
//!
//! A gateway or shard that restarts gets a new baseline. A reset of the gateway's statistics does not change the
//! counts read here.

use std::time::Duration;

use probe_common::requests::REASONS;
use protocol::ShardId;
use protocol::probe_api::Comparison;
use protocol::verdict::Verdict;
use service::members::{Kind, MAX_GATEWAYS, Members};

use crate::compare::reconcile::cause::Cause;
use crate::compare::reconcile::{AppReading, Bracket, Ledger};
use crate::compare::stats_client::{GatewayReading, StatsClient};
use crate::source::Counters;

mod group;

#[cfg(fuzzing)]
pub(crate) use self::group::verdict;

use self::group::GatewayGroup;

/// The gateways in front of the shards, as a setting.
pub const GATEWAYS: Kind = Kind { setting: "GATEWAY_URL", plural: "gateways", max: MAX_GATEWAYS };

/// The gateways, and a ledger of each shard's requests from them.
#[derive(Debug)]
pub(crate) struct Gateway {
    group: GatewayGroup,
    shards: Vec<SentLedger>,
    verdict: Result<Verdict<String>, String>,
}

impl Gateway {
    /// Compares the gateways in front of `shards` shards.
    pub(crate) fn new(urls: Members, shards: usize) -> Self {
        let group = GatewayGroup::new(urls, shards);
        let shards = (0..shards).map(|_| SentLedger::default()).collect();
        Self { group, shards, verdict: Err("it has not been read yet".to_owned()) }
    }

    /// The last verdict read, or why there is none.
    pub(crate) fn verdict(&self) -> Result<Verdict<String>, String> {
        self.verdict.clone()
    }

    /// Drops all state of one shard, because the kernel now counts other addresses for it.
    pub(crate) fn start_over(&mut self, shard: usize) {
        if let Some(ledger) = self.shards.get_mut(shard) {
            *ledger = SentLedger::default();
        }
    }

    /// Whether another bracket soon would narrow the result.
    pub(crate) fn is_settling(&self) -> bool {
        self.shards.iter().any(|shard| shard.settling)
    }

    /// Reads what the gateways have sent. Call it after the shards' brackets.
    pub(crate) async fn read(&mut self, stats: &StatsClient) -> Result<GatewayReading, String> {
        self.group.sent(stats).await
    }

    /// Reads the kernel again, after the gateways. Adds the result to the comparisons.
    pub(crate) fn compare(
        &mut self,
        reading: Result<GatewayReading, String>,
        brackets: &[Option<Bracket>],
        kernel: impl Fn(u32) -> Option<Counters>,
        now: impl Fn() -> Duration,
        comparisons: &mut [Comparison],
    ) {
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
            self.verdict = reading
                .map(verdict)
                .and_then(|found| found.ok_or_else(|| "its /stats has no verdict".to_owned()));
        }
    }

    /// Judges the combined counts of several gateways. Call it once a second. A single gateway reports its own
    /// verdict.
    pub(crate) async fn judge(&mut self, stats: &StatsClient) {
        if !self.group.is_one() {
            self.verdict = self.group.judge(stats).await;
        }
    }
}

fn of_shard(reading: &Result<GatewayReading, String>, shard: u32) -> Result<(f64, u64), String> {
    let reading = reading.as_ref().map_err(Clone::clone)?;
    let sent = reading.sent.iter().find(|sent| sent.shard_id == ShardId(shard));
    let sent = sent.ok_or_else(|| format!("its /stats has no shard {shard}"))?;
    Ok((reading.started_at, sent.requests))
}

/// One shard's requests from the gateways.
#[derive(Debug, Default)]
struct SentLedger {
    ledger: Ledger,
    /// Start time of the shard's process, in Unix seconds.
    started_at: f64,
    /// The shard's active requests at the previous reading.
    active: u64,
    settling: bool,
}

impl SentLedger {
    /// Compares one shard's requests. `bracket` is the shard's own bracket, extended past the gateway's reading.
    /// `sent` is the gateway's start time and the requests it has sent.
    fn observe(&mut self, bracket: &Bracket, sent: &Result<(f64, u64), String>, comparison: &mut Comparison) {
        self.settling = false;
        let Ok(app) = &bracket.app else { return };
        if app.started_at.to_bits() != self.started_at.to_bits() {
            // Only the gateway's count has the requests that were in service when the shard's process ended.
            *self = Self { started_at: app.started_at, ..Self::default() };
        }
        let seen = self.ledger.observe(&Bracket {
            app: sent.clone().map(|(started_at, sent)| AppReading {
                requests_received: sent,
                started_at,
                active_requests: app.active_requests,
            }),
            // The gateway also counts requests that it gave up on.
            aborted: 0,
            answered: 0,
            repeated: 0,
            unparsed: [0; REASONS],
            ..bracket.clone()
        });
        // A difference beyond the bound is not final here: the bound decides how many requests are reported.
        self.settling = self.ledger.is_narrowing(&seen);
        // A request answered after the gateway's reading was in service at one of these two readings.
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
