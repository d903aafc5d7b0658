//! Which reply is for which command of a connection.
//!
//! The store answers commands in their order, so replies are paired with commands by counting both. That holds until a
//! command makes the store send more or fewer replies than commands, or until a part of either direction cannot be
//! followed. Of the newest [`KEPT`] commands, number and arrival are kept: a reply's latency is its command's.

mod asked;

pub use asked::{Asked, Facts, family_of, took};

use self::asked::{IS_EXEC, IS_QUEUED};
use super::{Effect, head::Head, reply::Outcome};

/// Commands of a connection that are kept. A power of two.
pub const KEPT: usize = 64;

/// Exchanges in step after which a connection that was not followed from its beginning is paired.
const IN_STEP: u8 = 8;

/// How long a connection has to rest between a reply and the next command, in nanoseconds, so that no command waits. Exchanges
/// in step alone do not tell: with a constant number of commands in flight, each reply would be an earlier command's.
const REST: u64 = 10_000_000;

/// Why the latency of a command is not measured. The number is the index into
/// [`CommandCounters::untimed`](super::CommandCounters::untimed).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untimed {
    /// The connection is older than the probe, and its replies are not in step yet.
    Joined = 0,
    /// Commands or replies could not be followed, and the replies are not in step again yet.
    Lost = 1,
    /// The store sends on the connection without being asked: a subscription, `MONITOR`, a replica.
    Streaming = 2,
    /// `CLIENT REPLY`: some commands have no reply.
    ReplyOff = 3,
    /// The command may wait for data.
    Blocking = 4,
    /// The command was queued in a transaction.
    Transaction = 5,
    /// More than [`KEPT`] commands waited for their replies. Commands of every kind count.
    Depth = 6,
}

/// Number of reasons.
pub const UNTIMED: usize = 7;

/// The pairing of one connection. All zeros is a connection that is followed from its beginning.
///
/// Ingress writes `next`, `ends` and `commands`. Egress writes everything else, except that ingress sets `state` of a
/// connection that is older than the probe, before egress looks at it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// Where pairing ends for good: the number of the first command that breaks it, and [`ENDS`]. 0 if none does.
    ends: u64,
    /// The places of this transaction's queued commands in `commands`.
    queued_at: u64,
    /// This transaction's queued commands.
    queued: u32,
    /// Replies that have begun: up to here, latency has been measured.
    begun: u32,
    /// While out of step: commands that had arrived when the replies were last out of step.
    asked: u32,
    /// While out of step: replies since then.
    replied: u32,
    /// The number of the next command.
    next: u32,
    /// One of the `STATE_*` constants.
    state: u8,
    /// While out of step: exchanges in step.
    in_step: u8,
    /// 1 once ingress could not follow commands. Egress resets it.
    lost: u8,
    /// While out of step: 1 once the connection has rested for [`REST`] in these exchanges.
    rested: u8,
    commands: [u64; KEPT],
    /// While out of step: when the last reply left; 0 if that is not known.
    left_at: u64,
}

impl Default for Pairing {
    fn default() -> Self {
        Self {
            ends: 0,
            queued_at: 0,
            queued: 0,
            begun: 0,
            asked: 0,
            replied: 0,
            next: 0,
            state: PAIRED,
            in_step: 0,
            lost: 0,
            rested: 0,
            commands: [0; KEPT],
            left_at: 0,
        }
    }
}

/// Each reply is a command's.
const PAIRED: u8 = 0;
/// Out of step: [`Untimed::Joined`].
const JOINED: u8 = 1;
/// Out of step: [`Untimed::Lost`].
const LOST: u8 = 2;
/// For good: [`Untimed::Streaming`] or [`Untimed::ReplyOff`], which `ends` says.
const ENDED: u8 = 3;

/// In [`Pairing::ends`], above the command's number.
const ENDS: u64 = 1 << 32;
const ENDS_REPLY_OFF: u64 = 1 << 33;
/// The first command that breaks pairing is queued in a transaction, whose end has not been seen. Until then the number is
/// [`FAR`] ahead.
const ENDS_LATER: u64 = 1 << 34;
/// More commands than a transaction has.
const FAR: u32 = 1 << 30;

/// What the bytes of a segment from the store are to egress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// Replies to pair.
    Paired,
    /// Replies to count, until they are in step.
    OutOfStep,
    /// Out of step since now: bytes to ignore.
    Lost,
    /// Bytes to ignore.
    Ignored,
}

impl Pairing {
    /// A connection older than the probe begins.
    #[inline(always)]
    pub const fn join(&mut self) {
        self.state = JOINED;
    }

    /// Ingress could not follow commands.
    #[inline(always)]
    pub const fn lose_commands(&mut self) {
        self.lost = 1;
    }

    /// Whether each reply is a command's now.
    #[must_use]
    #[inline(always)]
    pub const fn is_in_step(&self) -> bool {
        self.state == PAIRED
    }

    /// Whether replies decide about a transaction that begins now.
    #[must_use]
    #[inline(always)]
    pub const fn is_paired(&self) -> bool {
        self.state == PAIRED && self.ends == 0
    }

    /// Whether the connection has no pairing and never will: a command without a reply says nothing.
    #[must_use]
    #[inline(always)]
    pub const fn has_ended(&self) -> bool {
        self.ends != 0
    }

    /// Why no latency is measured on this connection now.
    #[must_use]
    #[inline(always)]
    pub const fn untimed(&self) -> Option<Untimed> {
        if self.ends != 0 {
            return Some(if self.ends & ENDS_REPLY_OFF == 0 {
                Untimed::Streaming
            } else {
                Untimed::ReplyOff
            });
        }
        match self.state {
            JOINED => Some(Untimed::Joined),
            LOST => Some(Untimed::Lost),
            _ => None,
        }
    }

    /// A segment's commands follow. So many have arrived before.
    #[inline(always)]
    pub const fn begin_segment(&mut self, arrived: u32) {
        self.next = arrived;
    }

    /// The next command breaks pairing from its own reply on. If it is queued in a transaction, pairing ends behind the reply
    /// to `EXEC`, which decides about the transaction.
    #[inline(always)]
    const fn end(&mut self, is_reply_off: bool, is_queued: bool) {
        if self.ends == 0 {
            let why = if is_reply_off { ENDS_REPLY_OFF } else { 0 };
            let (place, later) =
                if is_queued { (self.next.wrapping_add(FAR), ENDS_LATER) } else { (self.next, 0) };
            self.ends = place as u64 | ENDS | why | later;
        }
    }

    /// The next command ends a transaction.
    #[inline(always)]
    const fn end_transaction(&mut self) {
        if self.ends & ENDS_LATER != 0 {
            self.ends = self.next.wrapping_add(1) as u64 | self.ends & (ENDS | ENDS_REPLY_OFF);
        }
    }

    /// Lets replies decide no more about the transaction at hand if they are not paired any more. Call it before
    /// [`Head::discards`]. Replies may be lost just behind this: then nothing counts what is discarded.
    #[inline(always)]
    pub const fn check_decision(&self, head: &mut Head) {
        if self.state != PAIRED || self.lost != 0 {
            head.let_replies_decide(false);
        }
    }

    /// Takes a complete command, before it is [counted](Head::counted). Returns why its latency is not measured, if it is a
    /// data command and it is not.
    #[inline(always)]
    pub fn take(&mut self, head: &mut Head, came_at: u64) -> Option<Untimed> {
        let is_queued = head.is_in_transaction() && head.replies_decide();
        match head.effect() {
            Effect::Unpaired => self.end(false, is_queued),
            Effect::Reply => self.end(true, is_queued),
            Effect::Exec | Effect::Discard | Effect::Reset => self.end_transaction(),
            Effect::Multi if !head.is_in_transaction() => head.let_replies_decide(self.is_paired()),
            _ => {}
        }
        let untimed = if !head.is_data() {
            None
        } else if let Some(why) = self.untimed() {
            Some(why)
        } else if head.may_block() {
            Some(Untimed::Blocking)
        } else if head.is_in_transaction() {
            Some(Untimed::Transaction)
        } else {
            None
        };
        let facts = Facts {
            number: head.number(),
            is_exec: matches!(head.effect(), Effect::Exec),
            is_queued,
            timed: if head.is_data() && untimed.is_none() { Some(head.family()) } else { None },
        };
        self.ask(facts, came_at);
        untimed
    }

    /// Takes over a connection's first command, if `held` has one.
    #[inline(always)]
    pub fn take_first(&mut self, held: &Self) {
        self.ends = held.ends;
        self.next = held.next;
        self.commands[0] = held.commands[0];
    }

    /// Forgets what [`Self::take_first`] takes.
    #[inline(always)]
    pub fn hold(&mut self) {
        self.ends = 0;
        self.state = PAIRED;
        self.commands[0] = 0;
    }

    /// Keeps the next command.
    #[inline(always)]
    pub fn ask(&mut self, facts: Facts, came_at: u64) {
        let place = self.next;
        self.next = place.wrapping_add(1);
        self.commands[slot(place)] = Asked::new(place, facts, came_at).0;
    }

    /// The command at a place, if it is still kept.
    #[must_use]
    #[inline(always)]
    pub fn asked(&self, place: u32) -> Option<Asked> {
        let asked = Asked(self.commands[slot(place)]);
        if asked.is_at(place) { Some(asked) } else { None }
    }

    /// Bytes from the store are missing: the same for egress.
    #[inline(always)]
    pub const fn lose_replies(&mut self) {
        self.lost = 1;
    }

    /// Looks at a segment from the store before it is read. `answered` commands have their replies, `arrived` have come. The
    /// parser starts anew after [`Replies::Lost`].
    #[inline(always)]
    pub const fn admit(&mut self, answered: u32, arrived: u32) -> Replies {
        if self.lost != 0 {
            self.lost = 0;
            if self.state != ENDED {
                self.lose(arrived);
                return Replies::Lost;
            }
        }
        if self.ends != 0
            && (self.state != PAIRED || answered.wrapping_sub(self.ends as u32).cast_signed() >= 0)
        {
            self.state = ENDED;
        }
        match self.state {
            PAIRED => Replies::Paired,
            ENDED => Replies::Ignored,
            _ => Replies::OutOfStep,
        }
    }

    /// Replies are out of step from here on.
    #[inline(always)]
    const fn lose(&mut self, arrived: u32) {
        if self.state == PAIRED {
            self.state = LOST;
            // Replies decide no more: what has been queued is neither discarded nor run.
            self.forget_queued();
        }
        self.asked = arrived;
        self.replied = 0;
        self.in_step = 0;
        self.rested = 0;
        self.left_at = 0;
    }

    /// Whether a segment has more replies than commands wait for one, or could not be read. Then replies are out of step, and
    /// the parser starts anew.
    #[inline(always)]
    pub const fn exceeds(&mut self, replies: Option<u32>, waiting: u32, arrived: u32) -> bool {
        let is_lost = match replies {
            Some(replies) => replies > waiting && self.ends == 0,
            None => true,
        };
        if is_lost {
            self.lose(arrived);
        }
        is_lost
    }

    /// While out of step: so many replies leave, or they cannot be read. Returns whether they may be in step, so that the
    /// parser can go on. Once they have been for some exchanges, and no command has waited before one of them, the connection
    /// is paired.
    #[inline(always)]
    pub fn count(&mut self, replies: Option<u32>, arrived: u32, is_at_boundary: bool, now: u64) -> bool {
        if let Some(first) = self.asked(self.asked)
            && self.asked != arrived
            && self.left_at != 0
            && first.came_after(self.left_at) >= REST
        {
            self.rested = 1;
        }
        let may_be_in_step = self.count_exchange(replies, arrived, is_at_boundary);
        self.left_at = now;
        may_be_in_step
    }

    #[inline(always)]
    const fn count_exchange(&mut self, replies: Option<u32>, arrived: u32, is_at_boundary: bool) -> bool {
        let due = arrived.wrapping_sub(self.asked);
        let Some(replies) = replies else {
            self.lose(arrived);
            return false;
        };
        self.replied = self.replied.wrapping_add(replies);
        if due == 0 || self.replied > due {
            self.lose(arrived);
            return false;
        }
        if self.replied == due && is_at_boundary {
            if self.in_step < IN_STEP {
                self.in_step += 1;
            }
            self.asked = arrived;
            self.replied = 0;
            if self.in_step == IN_STEP && self.rested != 0 {
                self.state = PAIRED;
                self.begun = arrived;
            }
        }
        true
    }

    /// The places of the commands whose replies have begun with this segment: from, and how many. Replies behind the end of
    /// pairing do not count.
    #[inline(always)]
    pub const fn begin_replies(&mut self, begun: u32) -> (u32, u32) {
        let end = self.ends as u32;
        let begun = if self.ends != 0 && begun.wrapping_sub(end).cast_signed() > 0 { end } else { begun };
        let from = self.begun;
        let count = begun.wrapping_sub(from);
        if count.cast_signed() <= 0 {
            return (from, 0);
        }
        self.begun = begun;
        (from, count)
    }

    /// Takes the reply to the command at a place. Returns whether its queued commands are discarded: call
    /// [`Self::discarded`] then.
    #[inline(always)]
    pub fn replied(&mut self, place: u32, outcome: Outcome) -> bool {
        if self.ends != 0 && place.wrapping_sub(self.ends as u32).cast_signed() >= 0 {
            return false;
        }
        let asked = self.asked(place);
        let flags = match asked {
            Some(asked) => asked.0,
            // It is not kept. Nearly all transactions are decided by replies.
            None => IS_QUEUED,
        };
        let bit = 1 << slot(place);
        if asked.is_some() {
            // A command that was queued long before had the same slot.
            self.queued_at &= !bit;
        }
        match outcome {
            Outcome::Queued if flags & IS_QUEUED != 0 => {
                self.queued = self.queued.saturating_add(1);
                if asked.is_some() {
                    self.queued_at |= bit;
                }
                false
            }
            Outcome::Queued => false,
            Outcome::Failed if flags & IS_EXEC == 0 => false,
            Outcome::Value => {
                self.forget_queued();
                false
            }
            Outcome::Aborted | Outcome::Failed | Outcome::Simple | Outcome::Null => self.queued > 0,
        }
    }

    /// Whether commands are queued.
    #[must_use]
    #[inline(always)]
    pub const fn has_queued(&self) -> bool {
        self.queued > 0
    }

    /// The transaction has ended.
    #[inline(always)]
    pub const fn forget_queued(&mut self) {
        self.queued = 0;
        self.queued_at = 0;
    }

    /// The names of queued commands no longer matter.
    #[inline(always)]
    pub const fn forget_names(&mut self) {
        self.queued_at = 0;
    }

    /// Queued commands.
    #[must_use]
    #[inline(always)]
    pub const fn queued(&self) -> u32 {
        self.queued
    }

    /// The number of the queued command in a slot below [`KEPT`], if it is still kept. `before` is the place behind the last
    /// reply.
    #[must_use]
    #[inline(always)]
    pub fn queued_in(&self, slot: u32, before: u32) -> Option<u16> {
        const MASK: u32 = KEPT as u32 - 1;
        if (self.queued_at >> (slot & MASK)) & 1 == 0 {
            return None;
        }
        let last = before.wrapping_sub(1);
        self.asked(last.wrapping_sub(last.wrapping_sub(slot) & MASK)).map(Asked::number)
    }
}

/// Where a command is kept. The verifier needs the mask; without `black_box` the compiler computes it elsewhere.
#[inline(always)]
fn slot(place: u32) -> usize {
    core::hint::black_box(place) as usize & (KEPT - 1)
}
