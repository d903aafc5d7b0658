//! Decides when one key's copies are readable and when they are written.
//!
//! A copy is readable only if no write of the key is in progress and the copy was written after the last write ended.
//! So every write makes all copies unreadable before it is sent. Once no write is in progress, one job at a time (see
//! [`Copies::claim`]) writes the home's value to the copies. The job's result counts only if no write began meanwhile.
//!
//! Time is an argument. Nothing in this module waits or sends.

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::ShardId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After this time the home is read again, and the copies are written again if its value differs. Another gateway or a
/// direct client may have written the key.
pub(crate) const RENEW: Duration = Duration::from_secs(60);

/// The copies of one key.
pub(crate) struct Copies {
    pub(crate) home: ShardId,
    /// How long a shard is not used after a request to it failed. The shard may still execute that request.
    pause: Duration,
    readable: ArcSwapOption<Synced>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The shards, other than the home, that should hold a copy.
    targets: Vec<ShardId>,
    /// Whether all writes that began before this key had copies have ended.
    open: bool,
    /// Number of writes in progress.
    writers: usize,
    /// Number of writes that have begun.
    version: u64,
    /// The home's value at this version, if it is known with certainty.
    known: Option<(u64, Known)>,
    /// Whether a job is in progress.
    busy: bool,
    /// Until this time a write with an unknown outcome may still change the home.
    doubt: Option<Instant>,
    /// Shards that are not used, and until when.
    paused: Vec<(ShardId, Instant)>,
    synced_at: Option<Instant>,
}

/// A value as it is written to a copy, with its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The body of the write.
    pub(crate) body: Bytes,
    /// The fingerprint of the value.
    pub(crate) value: u64,
}

/// Readable copies.
#[derive(Debug)]
pub(crate) struct Synced {
    /// The fingerprint of their value.
    pub(crate) value: u64,
    /// The copies, one per shard.
    pub(crate) on: Vec<Readable>,
}

/// A readable copy.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) shard: ShardId,
    /// The fingerprint of the text in which the shard returns the value. 0 before the first read.
    pub(crate) text: AtomicU64,
}

/// A claimed job. Its owner carries it out and then calls [`Copies::conclude`].
#[derive(Debug)]
pub(crate) struct Job {
    version: u64,
    /// The shards that should hold the home's value.
    pub(crate) targets: Vec<ShardId>,
    /// The home's value, if it is known without reading the home.
    pub(crate) known: Option<Known>,
    /// The readable copies at the time of the claim.
    pub(crate) synced: Option<Arc<Synced>>,
}

/// The result of a job.
pub(crate) enum Done {
    /// Reading the home failed.
    HomeFailed,
    /// The fingerprint of the home's value, and for each shard whether it stored the value.
    Written(u64, Vec<(ShardId, bool)>),
}

impl Copies {
    pub(crate) fn new(home: ShardId, pause: Duration) -> Self {
        Self { home, pause, readable: ArcSwapOption::empty(), state: Mutex::default() }
    }

    /// The copies that may be read now.
    pub(crate) fn readable(&self) -> Option<Arc<Synced>> {
        self.readable.load_full()
    }

    /// Sets the shards, other than the home, that should hold a copy.
    pub(crate) fn want(&self, targets: &[ShardId]) {
        let mut state = self.state.lock();
        if state.targets != targets {
            state.targets = targets.to_vec();
            self.readable.store(None);
        }
    }

    /// Records that all writes which began before this key had copies have ended.
    pub(crate) fn open(&self) {
        self.state.lock().open = true;
    }

    /// Whether no copy is wanted, and no write and no job is in progress.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.targets.is_empty() && state.writers == 0 && !state.busy
    }

    /// Begins a write. Call it before the write is sent to the home. Returns the value to pass to
    /// [`Copies::end_write`].
    pub(crate) fn begin_write(&self) -> u64 {
        let mut state = self.state.lock();
        self.readable.store(None);
        state.version += 1;
        state.known = None;
        state.writers += 1;
        // With another write in progress, the order in which they reach the home is unknown. 0 matches no version.
        if state.writers == 1 { state.version } else { 0 }
    }

    /// Ends a write. `written` is the value that the home now holds, or `None` if that is unknown.
    pub(crate) fn end_write(&self, began: u64, written: Option<Known>, now: Instant) {
        let mut state = self.state.lock();
        state.writers -= 1;
        match written {
            Some(known) if began == state.version && state.doubt.is_none_or(|until| until <= now) => {
                state.known = Some((began, known));
            }
            Some(_) => {}
            None => state.doubt = Some(now + self.pause),
        }
    }

    /// Claims the pending work at `now`. `None` if there is none, or a job is already in progress.
    pub(crate) fn claim(&self, now: Instant) -> Option<Job> {
        let mut state = self.state.lock();
        state.paused.retain(|(_, until)| *until > now);
        if state.busy || !state.open || state.writers > 0 || state.doubt.is_some_and(|until| until > now) {
            return None;
        }
        let usable = |shard: &ShardId| !state.paused.iter().any(|(paused, _)| paused == shard);
        let targets: Vec<ShardId> = state.targets.iter().copied().filter(usable).collect();
        let synced = self.readable.load_full();
        let holds = |shard: &ShardId| synced.as_ref().is_some_and(|synced| synced.find(*shard).is_some());
        let is_old = state.synced_at.is_none_or(|at| now >= at + RENEW);
        if targets.is_empty() || (targets.iter().all(holds) && !is_old) {
            return None;
        }
        state.busy = true;
        let version = state.version;
        let known = state.known.take().filter(|(at, _)| *at == version).map(|(_, known)| known);
        Some(Job { version, targets, known, synced })
    }

    /// Makes the copies unreadable. Call it before a job writes them.
    pub(crate) fn rewrite(&self) {
        let _state = self.state.lock();
        self.readable.store(None);
    }

    /// Ends a job.
    pub(crate) fn conclude(&self, job: &Job, done: Done, now: Instant) {
        let mut state = self.state.lock();
        state.busy = false;
        let Done::Written(value, shards) = done else {
            state.doubt = Some(now + self.pause);
            return;
        };
        for (shard, _) in shards.iter().filter(|(_, taken)| !taken) {
            state.paused.push((*shard, now + self.pause));
        }
        if state.version != job.version || state.targets.is_empty() {
            return;
        }
        let present = self.readable.load_full();
        // `present` no longer has copies that gave a wrong answer during the job.
        let kept = present.iter().filter(|synced| synced.value == value).flat_map(|synced| &synced.on);
        let mut on: Vec<Readable> = kept.map(Readable::again).collect();
        for (shard, taken) in shards {
            if taken && state.targets.contains(&shard) && !on.iter().any(|copy| copy.shard == shard) {
                on.push(Readable { shard, text: AtomicU64::new(0) });
            }
        }
        state.synced_at = Some(now);
        self.readable.store((!on.is_empty()).then(|| Arc::new(Synced { value, on })));
    }

    /// Makes the copy on `shard`, one of `synced`, unreadable after a wrong answer. It is written again later.
    ///
    /// Returns false if a write has overtaken the read. Then the answer is no evidence against the copy.
    pub(crate) fn lost(&self, synced: &Arc<Synced>, shard: ShardId, now: Instant) -> bool {
        let mut state = self.state.lock();
        let Some(present) = self.readable.load_full().filter(|present| Arc::ptr_eq(present, synced)) else {
            return false;
        };
        let on: Vec<_> = present.on.iter().filter(|copy| copy.shard != shard).map(Readable::again).collect();
        self.readable.store((!on.is_empty()).then(|| Arc::new(Synced { value: present.value, on })));
        state.paused.push((shard, now + self.pause));
        true
    }
}

impl Synced {
    pub(crate) fn find(&self, shard: ShardId) -> Option<&Readable> {
        self.on.iter().find(|copy| copy.shard == shard)
    }
}

impl Readable {
    fn again(&self) -> Self {
        Self { shard: self.shard, text: AtomicU64::new(self.text.load(Ordering::Relaxed)) }
    }
}
