//! What a process does not take on: counts, metrics, log, and the bytes of bodies and answers.

use parking_lot::Mutex;
use prometheus::IntCounter;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::budget::{Budget, Lease};
use crate::limits::{ANSWERS_BYTES, BODIES_BYTES, CONTROL_ANSWERS_BYTES};
use crate::metrics::Metrics;

/// How often shed connections and requests are logged, in one line.
pub(crate) const LOG_PERIOD: Duration = Duration::from_secs(1);

/// Why a connection or a request was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// An idle connection ended to make room.
    Idle,
    /// A connection without progress ended to make room.
    Stalled,
    /// A request head took too long.
    HeadTimeout,
    /// An answer was not read.
    WriteTimeout,
    /// A request beyond the limit of connections was answered with 503.
    Refused,
    /// No connection could be accepted, because there was no descriptor.
    NoDescriptor,
    /// There was no room for a request body.
    Body,
    /// There was no room for an answer.
    Answer,
    /// There was no descriptor for a connection to another process.
    Descriptor,
}

/// All reasons in the order of their definition, with the values of the label `reason`. The first six are for
/// connections.
const REASONS: [&str; 9] = [
    "idle",
    "stalled",
    "head_timeout",
    "write_timeout",
    "refused",
    "no_descriptor",
    "body",
    "answer",
    "no_descriptor",
];
const OF_CONNECTIONS: usize = 6;

/// Counts what a process sheds, and bounds the bytes that it holds. Cheap to clone.
#[derive(Clone, Default)]
pub struct Overload(Arc<State>);

struct State {
    counts: [AtomicU64; REASONS.len()],
    /// Open connections of clients.
    open: AtomicUsize,
    limit: AtomicUsize,
    bodies: Budget,
    answers: Budget,
    control_answers: Budget,
    /// Whether bodies or answers did not fit since the last look.
    is_short: AtomicBool,
    /// The counts at the last line of the log.
    logged: Mutex<[u64; REASONS.len()]>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            counts: Default::default(),
            open: AtomicUsize::default(),
            limit: AtomicUsize::default(),
            bodies: Budget::new(BODIES_BYTES),
            answers: Budget::new(ANSWERS_BYTES),
            control_answers: Budget::new(CONTROL_ANSWERS_BYTES),
            is_short: AtomicBool::default(),
            logged: Mutex::default(),
        }
    }
}

impl Overload {
    /// Registers the metrics of connections and of what is shed.
    ///
    /// # Errors
    /// A metric of that name exists.
    pub fn register(&self, metrics: &Metrics) -> Result<(), prometheus::Error> {
        let open = metrics.gauge("service_connections", "Open connections of clients")?;
        let limit = metrics.gauge(
            "service_connections_limit",
            "Largest number of open connections of clients, by the limits of descriptors and memory",
        )?;
        let connections = metrics.counters(
            "service_connections_shed_total",
            "Connections ended or refused, by reason: idle or stalled ones to make room, a request head or an answer \
             that took too long, refused beyond the limit, or not accepted for lack of a descriptor",
            &["reason"],
        )?;
        let requests = metrics.counters(
            "service_requests_shed_total",
            "Requests answered with 503, by reason: no room for a body or an answer, or no descriptor for a \
             connection to another process",
            &["reason"],
        )?;
        let counters: Vec<IntCounter> = (0..)
            .zip(REASONS)
            .map(|(index, reason)| {
                let family = if index < OF_CONNECTIONS { &connections } else { &requests };
                family.with_label_values(&[reason])
            })
            .collect();
        let overload = self.clone();
        metrics.before_exposition(move || {
            let gauge =
                |count: &AtomicUsize| i64::try_from(count.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
            open.set(gauge(&overload.0.open));
            limit.set(gauge(&overload.0.limit));
            for (counter, count) in counters.iter().zip(overload.counts()) {
                counter.inc_by(count.saturating_sub(counter.get()));
            }
        });
        Ok(())
    }

    /// The counts since the start, in the order of [`REASONS`].
    fn counts(&self) -> [u64; REASONS.len()] {
        self.0.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts a request that failed because there was no descriptor for a connection to another process.
    pub fn no_descriptor(&self) {
        self.count(Reason::Descriptor, 1);
    }

    pub(crate) fn count(&self, reason: Reason, number: usize) {
        self.0.counts[reason as usize].fetch_add(number as u64, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) {
        self.0.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes room for a body. `None` if there is none.
    #[must_use]
    pub fn body(&self, bytes: usize) -> Option<Lease> {
        self.0.bodies.take(bytes).or_else(|| self.short(Reason::Body))
    }

    /// Takes more room for a body. Returns whether there is some.
    pub fn more_of_body(&self, lease: &mut Lease, bytes: usize) -> bool {
        lease.grow(bytes) || self.short(Reason::Body).is_some()
    }

    /// Takes room for an answer. Control requests have some more. `None` if there is none.
    pub(crate) fn answer(&self, bytes: usize, is_control: bool) -> Option<Lease> {
        let State { answers, control_answers, .. } = &*self.0;
        let taken = answers.take(bytes);
        let taken = taken.or_else(|| is_control.then(|| control_answers.take(bytes)).flatten());
        taken.or_else(|| self.short(Reason::Answer))
    }

    /// Whether bodies or answers did not fit since the last call.
    pub(crate) fn take_shortage(&self) -> bool {
        self.0.is_short.swap(false, Ordering::Relaxed)
    }

    fn short(&self, reason: Reason) -> Option<Lease> {
        self.0.is_short.store(true, Ordering::Relaxed);
        self.count(reason, 1);
        None
    }

    /// Logs one line if something was shed since the last call.
    pub(crate) fn log(&self) {
        let counts = self.counts();
        let before = std::mem::replace(&mut *self.0.logged.lock(), counts);
        let mut shed = String::new();
        for (index, (now, before)) in
            counts.into_iter().zip(before).enumerate().filter(|(_, (now, before))| now > before)
        {
            let what = if index < OF_CONNECTIONS { "connections" } else { "requests" };
            let separator = if shed.is_empty() { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(shed, "{separator}{what} {}: {}", REASONS[index], now - before);
        }
        if !shed.is_empty() {
            let (open, limit) = (self.0.open.load(Ordering::Relaxed), self.0.limit.load(Ordering::Relaxed));
            tracing::warn!(shed, open, limit, "connections or requests were shed");
        }
    }
}
