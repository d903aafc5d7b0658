//! The open connections of a process: their number, and which of them end early.
//!
//! Near the limit silent connections end, then the longest idle ones, so that new ones find room. Without any, those end
//! whose client makes no progress. Twice a second every connection is looked at: a client that takes too long for a request
//! head, or does not read its answer, loses its connection.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connection::{Order, Phase, Progress};
use crate::overload::{Overload, Reason};

/// How often all connections are looked at.
pub(crate) const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// How long a request head may take, the first one from the start of its connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be silent between requests. It exceeds the idle time of usual client pools, so that the
/// client closes the connection first.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a client may read nothing while an answer waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was idle, or without progress, for less than this does not end for others. It is probably in use.
const IN_USE: Duration = Duration::from_secs(1);
/// The same for a silent connection, which has sent nothing since its start. Its client connected to send a request.
const SILENT: Duration = Duration::from_millis(250);
/// Shortest time between two searches for connections that can end for others. The second is after a search that found
/// none.
const SEARCH_PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(100)];
/// Largest number of connections that end at the same time to make room, and their largest part of all.
const BATCH: usize = 64;
const PART: usize = 8;

/// The open connections of a process.
pub(crate) struct Connections {
    limit: usize,
    open: Mutex<Open>,
    pub(crate) overload: Overload,
}

#[derive(Default)]
struct Open {
    entries: HashMap<u64, Entry>,
    next: u64,
    is_draining: bool,
    /// Number of connections with an order to end.
    ending: usize,
    /// When connections that can end are searched again.
    next_search: Option<Instant>,
    /// Whether the last search found some, or others were about to end.
    has_found: bool,
}

struct Entry {
    progress: Progress,
    phase: Phase,
    /// Since when the connection is idle, or without progress.
    since: Instant,
    moved: u32,
    begun: u32,
    is_ordered: bool,
}

/// The outcome of [`Connections::enter`].
pub(crate) enum Entered {
    /// There is room.
    In(Place),
    /// There is none. Other connections are about to end.
    Soon,
    /// There is none.
    Full,
}

/// A connection's place. Dropping it frees the place.
pub(crate) struct Place {
    id: u64,
    pub(crate) progress: Progress,
    connections: Arc<Connections>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        let was_ending = open.entries.remove(&self.id).is_some_and(|entry| entry.is_ordered);
        open.ending -= usize::from(was_ending);
        self.connections.overload.closed();
    }
}

impl Connections {
    pub(crate) fn new(limit: usize, overload: Overload) -> Arc<Self> {
        overload.set_limit(limit);
        Arc::new(Self { limit, open: Mutex::default(), overload })
    }

    /// Takes a place for a new connection. During a drain there is always room.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        let mut open = self.open.lock();
        let count = open.entries.len();
        // nginx keeps the same part free, because a connection takes some time to end.
        let margin = (self.limit / 16).min(BATCH);
        if count + margin >= self.limit && !open.is_draining {
            let is_ending = self.end_some(&mut open, Instant::now());
            if count >= self.limit {
                return if is_ending { Entered::Soon } else { Entered::Full };
            }
        }
        let (id, progress) = (open.next, Progress::default());
        open.next += 1;
        if open.is_draining {
            progress.order(Order::Finish);
        }
        let is_ordered = open.is_draining;
        open.ending += usize::from(is_ordered);
        let (phase, since) = (Phase::Idle, Instant::now());
        let entry = Entry { progress: progress.clone(), phase, since, moved: 0, begun: 0, is_ordered };
        open.entries.insert(id, entry);
        self.overload.opened();
        Entered::In(Place { id, progress, connections: Arc::clone(self) })
    }

    /// Ends idle or stalled connections, because their descriptors are needed.
    pub(crate) fn make_room(&self) {
        self.end_some(&mut self.open.lock(), Instant::now());
    }

    /// Orders all connections to end after the request that is handled or has arrived.
    pub(crate) fn drain(&self) {
        let mut open = self.open.lock();
        open.is_draining = true;
        open.ending = open.entries.len();
        for entry in open.entries.values_mut() {
            entry.end(Order::Finish);
        }
    }

    /// Ends the connections whose clients take too long. Without room for bodies or answers, also those that hold some
    /// and make no progress.
    pub(crate) fn look(&self, now: Instant) {
        let is_short = self.overload.take_shortage();
        let mut open = self.open.lock();
        let mut ending = 0;
        for entry in open.entries.values_mut() {
            entry.look(now);
            let waited = now.saturating_duration_since(entry.since);
            let reason = match entry.phase {
                Phase::Head if waited >= HEAD_TIMEOUT => Reason::HeadTimeout,
                Phase::Idle if entry.begun == 0 && waited >= HEAD_TIMEOUT => Reason::HeadTimeout,
                Phase::Write if waited >= WRITE_TIMEOUT => Reason::WriteTimeout,
                Phase::Body | Phase::Write if is_short && waited >= IN_USE => Reason::Stalled,
                Phase::Idle if waited >= IDLE_TIMEOUT => {
                    // Nothing is shed.
                    ending += usize::from(entry.end(Order::Finish));
                    continue;
                }
                _ => continue,
            };
            if entry.end(entry.order()) {
                ending += 1;
                self.overload.count(reason, 1);
            }
        }
        open.ending += ending;
    }

    /// Ends the longest silent connections; without any, the longest idle ones; without any, those that wait longest for
    /// their client. Returns whether some are about to end.
    fn end_some(&self, open: &mut Open, now: Instant) -> bool {
        if open.next_search.is_some_and(|next| now < next) {
            return open.has_found;
        }
        let (mut silent, mut idle, mut stalled) = (Vec::new(), Vec::new(), Vec::new());
        for (id, entry) in open.entries.iter_mut().filter(|(_, entry)| !entry.is_ordered) {
            entry.look(now);
            let (found, in_use) = match entry.phase {
                Phase::Idle if entry.begun == 0 => (&mut silent, SILENT),
                Phase::Idle => (&mut idle, IN_USE),
                Phase::Head | Phase::Body | Phase::Write => (&mut stalled, IN_USE),
                Phase::Server => continue,
            };
            if now.saturating_duration_since(entry.since) >= in_use {
                found.push((entry.since, *id));
            }
        }
        let (mut found, reason) = match (silent.is_empty(), idle.is_empty()) {
            (false, _) => (silent, Reason::Idle),
            (true, false) => (idle, Reason::Idle),
            (true, true) => (stalled, Reason::Stalled),
        };
        let batch = (self.limit / PART).clamp(1, BATCH);
        if found.len() > batch {
            found.select_nth_unstable(batch);
            found.truncate(batch);
        }
        for (_, id) in &found {
            let Some(entry) = open.entries.get_mut(id) else { continue };
            entry.end(entry.order());
        }
        self.overload.count(reason, found.len());
        open.ending += found.len();
        open.has_found = open.ending > 0;
        open.next_search = Some(now + SEARCH_PAUSES[usize::from(!open.has_found)]);
        open.has_found
    }
}

impl Entry {
    /// Updates what the connection waits for, and since when.
    fn look(&mut self, now: Instant) {
        let (phase, moved, begun) = (self.progress.phase(), self.progress.moved(), self.progress.begun());
        let has_begun = begun != self.begun;
        let progressed = match phase {
            // A head that arrives in small pieces makes no progress. The first head began with the connection.
            Phase::Head | Phase::Idle if begun == 0 => false,
            Phase::Head => has_begun || phase != self.phase,
            _ => moved != self.moved || has_begun || phase != self.phase,
        };
        if progressed {
            self.since = now;
        }
        (self.phase, self.moved, self.begun) = (phase, moved, begun);
    }

    /// How it ends for others, or because of its client. A request that is in the socket of an idle connection is still
    /// answered.
    fn order(&self) -> Order {
        match self.phase {
            Phase::Idle if self.begun > 0 => Order::Finish,
            Phase::Idle => Order::Leave,
            Phase::Head | Phase::Body | Phase::Write | Phase::Server => Order::Close,
        }
    }

    /// Returns whether this is the first order.
    fn end(&mut self, order: Order) -> bool {
        self.progress.order(order);
        !std::mem::replace(&mut self.is_ordered, true)
    }
}
