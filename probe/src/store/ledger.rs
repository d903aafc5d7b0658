//! Compares one node's commands and bytes, by the kernel and by the node itself.
//!
//! At rest these hold for every command name, since the baseline:
//!
//! ```text
//! kernel − discarded = calls + rejected calls + behind close − scripted − replicated
//! bytes in           = total_net_input_bytes − total_net_repl_input_bytes + unread at close
//! ```
//!
//! Each name, the sum of all names, and the bytes have a [`Ledger`] of the lab's comparison, which gives the bounds
//! under load. The probe's own requests are subtracted on both sides, because they would keep the counts from ever
//! resting. `INFO` counts itself after its reply, which is a constant offset.
//!
//! Calls by scripts and from a primary's stream are in the node's counts only, and cannot be separated there. While
//! they occur, the comparison by name is one-sided: the kernel must not count more than the node.

use std::collections::BTreeMap;
use std::time::Duration;

use probe_common::requests::{Reason, Requests};
use protocol::probe_api::{
    CauseKind, CommandComparison, Comparison, NewBaseline, StoreException, StoreReconciliation,
};
use store::client::Sent;
use store::info::{Info, Role};

use super::names::CommandNames;
use crate::compare::reconcile::{AppReading, Bracket, Ledger};
use crate::signal::commands::CommandCounts;

/// One reading of a node: kernel, node, kernel.
#[derive(Clone, Debug)]
pub(crate) struct NodeBracket {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) before: KernelReading,
    pub(crate) after: KernelReading,
    /// The node's own counts, or why they cannot be read.
    pub(crate) info: Result<Info, String>,
    pub(crate) unix_seconds: f64,
}

/// The kernel's counts of a node at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelReading {
    pub(crate) commands: CommandCounts,
    pub(crate) requests: Requests,
    /// TCP payload towards the node.
    pub(crate) bytes: u64,
    /// What this probe has sent by then.
    pub(crate) own: Sent,
}

impl KernelReading {
    /// Commands with this number that are not discarded and not this probe's since the baseline.
    fn count(&self, number: usize, name: &str, base: &Sent) -> u64 {
        let of = |counts: &[u64]| counts.get(number).copied().unwrap_or_default();
        let discarded = of(&self.commands.discarded);
        of(&self.commands.by_number).saturating_sub(discarded).saturating_sub(self.own_calls(name, base))
    }

    /// Calls of this probe since the baseline.
    fn own_calls(&self, name: &str, base: &Sent) -> u64 {
        self.own.calls_of(name).saturating_sub(base.calls_of(name))
    }

    /// Bytes of this probe since the baseline.
    const fn own_bytes(&self, base: &Sent) -> u64 {
        self.own.bytes.saturating_sub(base.bytes)
    }

    fn discarded(&self) -> u64 {
        self.commands.discarded.iter().sum()
    }

    fn discarded_unnamed(&self) -> u64 {
        self.commands.discarded.first().copied().unwrap_or_default()
    }

    fn unknown(&self) -> u64 {
        self.commands.by_number.first().copied().unwrap_or_default()
    }

    /// Bytes that are not this probe's since the baseline.
    const fn client_bytes(&self, base: &Sent) -> u64 {
        self.bytes.saturating_sub(self.own_bytes(base))
    }
}

/// The state of one node's comparison.
#[derive(Debug, Default)]
pub(crate) struct NodeLedger {
    /// By command number.
    names: BTreeMap<usize, Ledger>,
    total: Ledger,
    bytes: Ledger,
    /// Number of baselines. It takes the place of the start time of the lab's shards.
    epoch: u32,
    base: Option<Base>,
    last: Option<Info>,
    baselines: BTreeMap<NewBaseline, u64>,
}

/// The counts at the baseline.
#[derive(Clone, Debug)]
struct Base {
    kernel: KernelReading,
    /// What this probe had sent before. A node that restarts does not count it, nor a kernel that watches a new address.
    own: Sent,
    info: Info,
}

impl NodeLedger {
    /// Takes a new baseline at the next reading.
    pub(crate) fn start_over(&mut self) {
        if self.base.is_some() {
            self.renew(NewBaseline::Watched);
        }
    }

    fn renew(&mut self, why: NewBaseline) {
        *self.baselines.entry(why).or_default() += 1;
        self.epoch += 1;
        (self.base, self.last) = (None, None);
        (self.names, self.total, self.bytes) = Default::default();
    }

    /// Whether another bracket soon could give a final verdict.
    pub(crate) fn is_settling(&self, found: &StoreReconciliation) -> bool {
        self.total.is_settling(&found.total) || self.bytes.is_settling(&found.bytes)
    }

    /// Adds a reading and returns the comparison.
    pub(crate) fn observe(&mut self, names: &CommandNames, bracket: &NodeBracket) -> StoreReconciliation {
        let info = match &bracket.info {
            Ok(info) => info,
            Err(why) => return self.unreadable(why),
        };
        if let Some(why) = self.last.as_ref().and_then(|last| changed(last, info)) {
            self.renew(why);
        }
        self.last = Some(info.clone());
        let base = self.base.take().unwrap_or_else(|| Base {
            kernel: bracket.after.clone(),
            own: bracket.before.own.clone(),
            info: info.clone(),
        });
        let own = &base.own;
        let lopsided = lopsided(&base, info);
        let mut uncounted = Uncounted::since(&base, bracket, info);
        let mut sums = Sums::default();
        let mut commands: Vec<CommandComparison> = Vec::new();
        for (number, name) in names.numbered() {
            let (before, after) =
                (bracket.before.count(number, name, own), bracket.after.count(number, name, own));
            let calls = info.calls.get(name).copied().unwrap_or_default();
            let store = calls.received().saturating_sub(bracket.before.own_calls(name, own));
            sums.add(before, after, store);
            let ledger = self.names.entry(number).or_default();
            let found = ledger.observe(&of_counts(bracket, before, after, store, self.epoch));
            let command = of_command(name, &found, lopsided, &mut uncounted);
            commands.extend(command.filter(|command| command.kernel > 0 || command.store > 0));
        }
        let total = self.total.observe(&of_counts(bracket, sums.before, sums.after, sums.store, self.epoch));
        let client_bytes = info.client_bytes().saturating_sub(bracket.after.own_bytes(own));
        let (before, after) = (bracket.before.client_bytes(own), bracket.after.client_bytes(own));
        let mut bytes = self.bytes.observe(&of_counts(bracket, before, after, client_bytes, self.epoch));
        let unseen_share = judge_bytes(&mut bytes);
        let total = judge_total(total, &commands, lopsided, unseen_share, unparsed(&base, bracket));
        let exceptions = exceptions(&base, bracket, &commands, lopsided);
        self.base = Some(base);
        StoreReconciliation {
            total,
            commands,
            bytes,
            unseen_share,
            exceptions,
            baselines: self.baselines.clone(),
        }
    }

    fn unreadable(&mut self, why: &str) -> StoreReconciliation {
        for ledger in self.names.values_mut().chain([&mut self.total, &mut self.bytes]) {
            ledger.interrupt();
        }
        let total = Comparison {
            cause_kind: Some(CauseKind::ShardUnreadable),
            cause: Some(format!("the node's counts cannot be read: {why}")),
            ..Comparison::default()
        };
        StoreReconciliation {
            bytes: total.clone(),
            total,
            baselines: self.baselines.clone(),
            ..StoreReconciliation::default()
        }
    }
}

#[derive(Default)]
struct Sums {
    before: u64,
    after: u64,
    store: u64,
}

impl Sums {
    fn add(&mut self, before: u64, after: u64, store: u64) {
        self.before += before;
        self.after += after;
        self.store += store;
    }
}

/// Why the counts cannot be compared with the last ones.
fn changed(last: &Info, now: &Info) -> Option<NewBaseline> {
    if last.run_id != now.run_id {
        Some(NewBaseline::Restart)
    } else if now.fell_since(last) {
        Some(NewBaseline::Reset)
    } else if last.role != now.role {
        Some(NewBaseline::Role)
    } else {
        None
    }
}

/// Whether the node counts commands that are not on the wire, and why.
fn lopsided(base: &Base, now: &Info) -> Option<CauseKind> {
    if now.role == Role::Replica {
        return Some(CauseKind::Replication);
    }
    (now.script_runs() > base.info.script_runs()).then_some(CauseKind::Scripts)
}

/// Whether the node holds commands that it has not counted: behind a blocked command, or in an open transaction.
fn is_waiting(info: &Info) -> bool {
    let calls = |name: &str| info.calls.get(name).map_or(0, |calls| calls.calls);
    info.blocked_clients > 0 || calls("multi") > calls("exec") + calls("discard")
}

/// A bracket of the lab's comparison with these counts.
fn of_counts(bracket: &NodeBracket, before: u64, after: u64, store: u64, epoch: u32) -> Bracket {
    let requests = &bracket.after.requests;
    Bracket {
        from: bracket.from,
        to: bracket.to,
        kernel_before: before,
        kernel_after: after,
        undecided: requests.undecided(),
        aborted: requests.unsettled().saturating_add(requests.never_read),
        answered: 0,
        repeated: requests.duplicate_segments,
        unparsed: requests.unparsed,
        app: Ok(AppReading { requests_received: store, started_at: f64::from(epoch), active_requests: 0 }),
        unix_seconds: bracket.unix_seconds,
    }
}

/// Commands since the baseline that the store does not count, for all names together. Each explains one command of one
/// name.
struct Uncounted {
    /// Queued commands that were discarded, and whose names the kernel has not kept.
    discarded: u64,
    /// Replies that are errors.
    errors: u64,
    /// Whether clients wait in transactions or in blocking commands now.
    is_waiting: bool,
}

impl Uncounted {
    fn since(base: &Base, bracket: &NodeBracket, info: &Info) -> Self {
        Self {
            discarded: bracket.after.discarded_unnamed().saturating_sub(base.kernel.discarded_unnamed()),
            errors: info.errors.saturating_sub(base.info.errors),
            is_waiting: is_waiting(info),
        }
    }

    /// Returns what explains `difference` commands of one name.
    fn explain(&mut self, difference: u64) -> CauseKind {
        if let Some(left) = self.discarded.checked_sub(difference) {
            self.discarded = left;
            return CauseKind::Discarded;
        }
        if self.is_waiting {
            return CauseKind::Waiting;
        }
        // An unknown subcommand is answered with an error, and counted under no name.
        if let Some(left) = self.errors.checked_sub(difference) {
            self.errors = left;
            return CauseKind::Unnamed;
        }
        CauseKind::Uncounted
    }
}

/// The comparison of one name. `None` without a baseline.
fn of_command(
    name: &str,
    found: &Comparison,
    lopsided: Option<CauseKind>,
    uncounted: &mut Uncounted,
) -> Option<CommandComparison> {
    let difference = found.difference?;
    let bound = found.bound.unwrap_or_default();
    let cause = if found.agrees == Some(true) {
        (difference != 0).then_some(found.cause_kind).flatten()
    } else if difference < 0 {
        lopsided.or(Some(CauseKind::Unseen))
    } else {
        Some(uncounted.explain(difference.unsigned_abs()))
    };
    let kernel = found.kernel.unwrap_or_default();
    Some(CommandComparison {
        command: name.to_owned(),
        kernel,
        store: found.app.unwrap_or_default(),
        difference,
        bound,
        cause,
    })
}

/// Judges the bytes: more in the kernel are unread ones, fewer did not use a watched socket. Returns the share of
/// those.
fn judge_bytes(bytes: &mut Comparison) -> Option<f64> {
    let (difference, store) = (bytes.difference?, bytes.app?);
    if difference < 0 {
        bytes.cause_kind = Some(CauseKind::Unseen);
        bytes.cause = Some(format!("{} bytes did not use a watched socket", difference.unsigned_abs()));
        bytes.agrees = Some(false);
    } else if bytes.agrees == Some(false) {
        bytes.cause_kind = Some(CauseKind::Unanswered);
        bytes.cause = Some(format!("the node has not read {difference} bytes, or they were sent twice"));
    }
    let unseen = u64::try_from(-difference).unwrap_or(0);
    (store > 0).then(|| ratio(unseen, store))
}

#[expect(clippy::cast_precision_loss, reason = "a share of bytes needs no more")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Judges all commands of a node by those of each name.
fn judge_total(
    mut total: Comparison,
    commands: &[CommandComparison],
    lopsided: Option<CauseKind>,
    unseen_share: Option<f64>,
    unparsed: u64,
) -> Comparison {
    if total.difference.is_none() {
        return total;
    }
    let excess: i64 = commands.iter().map(|command| command.difference.max(0)).sum();
    let lack: i64 = commands.iter().map(|command| command.difference.min(0)).sum();
    total.difference = Some(excess + lack);
    let worst = |kind: CauseKind| commands.iter().find(|command| command.cause == Some(kind));
    let name = |command: &CommandComparison| format!("{} ({:+})", command.command, command.difference);
    let (agrees, kind, cause) = if let Some(command) = worst(CauseKind::Uncounted) {
        let cause = format!("the store did not count commands that reached its socket: {}", name(command));
        (Some(false), Some(CauseKind::Uncounted), Some(cause))
    } else if worst(CauseKind::Unseen).is_some() && unseen_share.is_some_and(|share| share > 0.0) {
        let share = 100.0 * unseen_share.unwrap_or_default();
        let cause = format!(
            "{share:.1} % of the bytes did not use a watched socket (Unix socket, TLS, other machine)"
        );
        (None, Some(CauseKind::Unseen), Some(cause))
    } else if let Some(command) = worst(CauseKind::Unseen) {
        let kind = if unparsed > 0 { CauseKind::Unparsed } else { CauseKind::Unseen };
        let cause = format!(
            "the store counted more than the kernel: {}; unparsed segments: {unparsed}",
            name(command)
        );
        (Some(false), Some(kind), Some(cause))
    } else if let Some(kind) = lopsided {
        let what = if kind == CauseKind::Scripts {
            "scripts call commands"
        } else {
            "it applies its primary's commands"
        };
        let lacking = lack.unsigned_abs();
        let cause = format!("no more than the store counts; {what}: {lacking} that only the store counts");
        (None, Some(kind), Some(cause))
    } else if let Some(command) = worst(CauseKind::Waiting) {
        let cause =
            format!("commands are queued in open transactions or behind blocked commands: {}", name(command));
        (None, Some(CauseKind::Waiting), Some(cause))
    } else if let Some(command) = worst(CauseKind::Discarded) {
        let cause = format!("queued commands were discarded with their transaction: {}", name(command));
        (Some(true), Some(CauseKind::Discarded), Some(cause))
    } else if let Some(command) = worst(CauseKind::Unnamed) {
        let cause = format!("answered with an error that the store counts without a name: {}", name(command));
        (Some(true), Some(CauseKind::Unnamed), Some(cause))
    } else {
        (
            Some(true),
            total.cause_kind.filter(|_| total.agrees == Some(true)),
            total.cause.filter(|_| total.agrees == Some(true)),
        )
    };
    (total.agrees, total.cause_kind, total.cause) = (agrees, kind, cause);
    total
}

/// Segments without a parsed command since the baseline, except those that a store does not read either.
fn unparsed(base: &Base, bracket: &NodeBracket) -> u64 {
    let read = Reason::ALL.into_iter().filter(|reason| *reason != Reason::Closed);
    read.map(|reason| unparsed_for(reason, base, bracket)).sum()
}

/// Segments without a parsed command since the baseline, for one reason.
fn unparsed_for(reason: Reason, base: &Base, bracket: &NodeBracket) -> u64 {
    let of = |requests: &Requests| requests.unparsed.get(reason as usize).copied().unwrap_or_default();
    of(&bracket.after.requests).saturating_sub(of(&base.kernel.requests))
}

/// The named exceptions since the baseline.
fn exceptions(
    base: &Base,
    bracket: &NodeBracket,
    commands: &[CommandComparison],
    lopsided: Option<CauseKind>,
) -> BTreeMap<StoreException, u64> {
    let (then, now) = (&base.kernel, &bracket.after);
    let lack = |kind: CauseKind| -> u64 {
        let of = commands.iter().filter(|command| command.cause == Some(kind) && lopsided == Some(kind));
        of.map(|command| u64::try_from(-command.difference).unwrap_or(0)).sum()
    };
    let grown = |now: u64, then: u64| now.saturating_sub(then);
    BTreeMap::from([
        (StoreException::Discarded, grown(now.discarded(), then.discarded())),
        // The parser stops at `QUIT`, so what follows is counted in segments.
        (
            StoreException::BehindClose,
            grown(now.requests.never_read, then.requests.never_read)
                + unparsed_for(Reason::Closed, base, bracket),
        ),
        (StoreException::Aborted, grown(now.requests.unsettled(), then.requests.unsettled())),
        (StoreException::Unknown, grown(now.unknown(), then.unknown())),
        (StoreException::Scripted, lack(CauseKind::Scripts)),
        (StoreException::Replicated, lack(CauseKind::Replication)),
    ])
}

#[cfg(test)]
mod tests;
