//! Bounds the bytes of a kind of content that a process holds at the same time.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes, shared by all connections of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<State>);

#[derive(Debug)]
struct State {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(State { limit, used: AtomicUsize::new(0) }))
    }

    /// Takes `bytes` bytes until the lease is dropped. `None` if they are not left.
    pub(crate) fn take(&self, bytes: usize) -> Option<Lease> {
        let mut lease = Lease { budget: self.clone(), bytes: 0 };
        lease.grow(bytes).then_some(lease)
    }

    #[cfg(test)]
    fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

/// Bytes taken from a budget.
#[derive(Debug)]
pub struct Lease {
    budget: Budget,
    bytes: usize,
}

impl Lease {
    /// Takes more bytes. Returns whether they were left.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let State { limit, used } = &*self.budget.0;
        let added = |now: usize| now.checked_add(bytes).filter(|sum| sum <= limit);
        let grown = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added).is_ok();
        self.bytes += if grown { bytes } else { 0 };
        grown
    }

    /// The bytes taken.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds the lease until the last clone of `bytes` is dropped.
    #[must_use]
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _lease: self })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    bytes: Bytes,
    _lease: Lease,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_up_to_the_limit_and_come_back_with_the_last_clone() {
        let budget = Budget::new(10);
        let mut first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none() && !first.grow(usize::MAX) && first.grow(3));
        assert_eq!(budget.used(), 9);
        let held = first.hold(Bytes::from_static(b"nine byte"));
        let clone = held.slice(2..4);
        drop(held);
        assert_eq!(budget.used(), 9);
        drop(clone);
        assert_eq!(budget.used(), 0);
    }
}
