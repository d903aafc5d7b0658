//! The copies of one key: which may be read, what writes do to them, and when they are recreated.
//!
//! A copy may be read only while no write of the key is under way and the copy has been written since the last one ended.
//! So a write makes all copies unreadable before it is sent, and one job at a time (see [`Copies::claim`]) brings home's
//! value to them once no write is under way; its work counts only if no write has begun meanwhile.
//!
//! Time is an argument; nothing here waits or sends.

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::ShardId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// After so long home is read again, and the copies are written again if its value is another: somebody may have written
/// past this gateway.
pub(crate) const RENEW: Duration = Duration::from_secs(60);

/// The copies of one key.
pub(crate) struct Copies {
    pub(crate) home: ShardId,
    /// How long a shard is left alone on which something had no good end; it may still do what it was asked.
    pause: Duration,
    readable: ArcSwapOption<Synced>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The shards beside home that are to hold a copy.
    targets: Vec<ShardId>,
    /// Whether writes that began before this key had copies have ended.
    open: bool,
    /// Writes under way.
    writers: usize,
    /// How many writes have begun.
    version: u64,
    /// What home holds, if that is sure, at this version.
    known: Option<(u64, Known)>,
    /// Whether a job is under way.
    busy: bool,
    /// Until when home may change by a write whose outcome is not known.
    doubt: Option<Instant>,
    /// Shards that are left alone until then.
    paused: Vec<(ShardId, Instant)>,
    synced_at: Option<Instant>,
}

/// A value as it is written to a copy, with its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The body of the write.
    pub(crate) body: Bytes,
    /// Fingerprint of the value.
    pub(crate) value: u64,
}

/// Copies that may be read.
#[derive(Debug)]
pub(crate) struct Synced {
    /// Fingerprint of the value that they hold.
    pub(crate) value: u64,
    /// Where they are.
    pub(crate) on: Vec<Readable>,
}

/// A copy that may be read.
#[derive(Debug)]
pub(crate) struct Readable {
    pub(crate) shard: ShardId,
    /// Fingerprint of the text in which its shard gives the value; 0 before the first read.
    pub(crate) text: AtomicU64,
}

/// Work to be done by whoever claimed it, which then calls [`Copies::conclude`].
#[derive(Debug)]
pub(crate) struct Job {
    version: u64,
    /// The shards that are to hold home's value.
    pub(crate) targets: Vec<ShardId>,
    /// Home's value, where it is known without asking.
    pub(crate) known: Option<Known>,
    /// What is readable now.
    pub(crate) synced: Option<Arc<Synced>>,
}

/// What came of a job.
pub(crate) enum Done {
    /// Home did not say what it holds.
    HomeFailed,
    /// Home holds this, and each of these shards took it or did not.
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

    /// Asks for copies on these shards beside home, and on no others.
    pub(crate) fn want(&self, targets: &[ShardId]) {
        let mut state = self.state.lock();
        if state.targets != targets {
            state.targets = targets.to_vec();
            self.readable.store(None);
        }
    }

    /// Says that the writes which began before this key had copies have ended.
    pub(crate) fn open(&self) {
        self.state.lock().open = true;
    }

    /// Whether nothing is wanted and nothing under way.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.targets.is_empty() && state.writers == 0 && !state.busy
    }

    /// To be called before a write is sent to home; gives what [`Copies::end_write`] wants.
    pub(crate) fn begin_write(&self) -> u64 {
        let mut state = self.state.lock();
        self.readable.store(None);
        state.version += 1;
        state.known = None;
        state.writers += 1;
        // Another that is under way may reach home after this one.
        if state.writers == 1 { state.version } else { 0 }
    }

    /// To be called when a write has ended, with what home holds then; without, when that is not known.
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

    /// Takes the work there is to do at `now`, if there is any and nobody else does it.
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

    /// Makes the copies unreadable that are about to be written by `job`.
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
        // Whoever was read from meanwhile and found wanting is no longer in `present`.
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

    /// Says that the copy on `shard`, one of `synced`, did not answer with its value: it is read no more and made anew
    /// later. False when a write has overtaken the read, which says nothing of the copy.
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
