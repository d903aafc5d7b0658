//! Keeps the counts at the beginning of the answer's window.

use std::sync::Arc;
use std::time::Duration;

use crate::signal::key_table::{KeyTable, largest};

/// The counts of all nodes at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moment {
    /// Time since any fixed start.
    pub(crate) at: Duration,
    /// By number of the node.
    pub(crate) nodes: Vec<NodeCounts>,
}

/// One node's counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeCounts {
    /// Commands that read keys.
    pub(crate) reads: u64,
    /// Commands that write keys.
    pub(crate) writes: u64,
    /// Commands by key.
    pub(crate) table: Arc<KeyTable>,
}

/// The growth of one node's counts in the window.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeGrowth {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// The largest keys: name, commands, and an upper bound of those that the count lacks.
    pub(crate) keys: Vec<(String, u64, u64)>,
}

impl NodeGrowth {
    /// Keyed commands.
    pub(crate) const fn commands(&self) -> u64 {
        self.reads.saturating_add(self.writes)
    }
}

/// The beginnings of two windows, so that there is always one of full length. At most three tables a node are kept.
#[derive(Debug, Default)]
pub(crate) struct AnswerWindow {
    /// Length after which a new window begins. `None` keeps the first.
    length: Option<Duration>,
    older: Option<Moment>,
    newer: Option<Moment>,
    last: Option<Moment>,
}

impl AnswerWindow {
    /// A window that moves on: between `length` and twice as long.
    pub(crate) fn moving(length: Duration) -> Self {
        Self { length: Some(length), ..Self::default() }
    }

    /// Starts from zero, because the kernel counts other commands.
    pub(crate) fn start_over(&mut self) {
        (self.older, self.newer, self.last) = (None, None, None);
    }

    /// Adds a reading. The first one begins the window.
    pub(crate) fn observe(&mut self, now: Moment) {
        self.older.get_or_insert_with(|| now.clone());
        if let Some(length) = self.length {
            let newer = self.newer.get_or_insert_with(|| now.clone());
            if now.at.saturating_sub(newer.at) >= length {
                self.older = self.newer.replace(now.clone());
            }
        }
        self.last = Some(now);
    }

    /// The growth in the window with the largest keys of each node, and the window's length.
    pub(crate) fn growth(&self, keys: usize) -> (Vec<NodeGrowth>, Duration) {
        let Some((base, now)) = self.older.as_ref().zip(self.last.as_ref()) else {
            return (Vec::new(), Duration::ZERO);
        };
        let none = NodeCounts::default();
        let nodes = now.nodes.iter().enumerate();
        let grown = nodes.map(|(at, node)| node.since(base.nodes.get(at).unwrap_or(&none), keys)).collect();
        (grown, now.at.saturating_sub(base.at))
    }
}

impl NodeCounts {
    fn since(&self, base: &Self, keys: usize) -> NodeGrowth {
        let growth = largest(self.table.growth(&base.table).filter(|(_, count)| *count > 0), keys);
        let key = |(key, count): (&smol_str::SmolStr, u64)| {
            let now = self.table.keys.get(key).copied().unwrap_or_default();
            // What came before the key entered the table is its error, unless that was before the window.
            let is_new = base.table.keys.get(key).is_none_or(|had| had.requests > now.requests);
            let error = if is_new { now.error } else { 0 };
            (key.to_string(), count, error)
        };
        NodeGrowth {
            reads: self.reads.saturating_sub(base.reads),
            writes: self.writes.saturating_sub(base.writes),
            keys: growth.into_iter().map(key).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::probe_api::KernelKey;

    fn moment(seconds: u64, reads: u64, keys: &[(&str, u64, u64)]) -> Moment {
        let keys = keys.iter().map(|(key, requests, error)| KernelKey {
            key: (*key).to_owned(),
            requests: *requests,
            error: *error,
        });
        let node = NodeCounts { reads, writes: 0, table: Arc::new(keys.collect()) };
        Moment { at: Duration::from_secs(seconds), nodes: vec![node] }
    }

    #[test]
    fn counts_of_known_keys_are_exact_and_those_of_new_keys_have_their_error() {
        let mut window = AnswerWindow::default();
        window.observe(moment(5, 100, &[("a", 40, 7), ("b", 1, 0)]));
        window.observe(moment(15, 200, &[("a", 70, 7), ("b", 1, 0), ("c", 30, 3)]));
        let (grown, span) = window.growth(9);
        assert_eq!((grown[0].commands(), span), (100, Duration::from_secs(10)));
        assert_eq!(grown[0].keys, [("a".to_owned(), 30, 0), ("c".to_owned(), 30, 3)]);
    }

    #[test]
    fn a_moving_window_is_one_to_two_lengths_long() {
        let mut window = AnswerWindow::moving(Duration::from_secs(10));
        let spans = (0..40).map(|second| {
            window.observe(moment(second, second, &[]));
            window.growth(1).1.as_secs()
        });
        let spans: Vec<u64> = spans.collect();
        assert_eq!((spans[9], spans[19], spans[20], spans[21]), (9, 19, 10, 11));
        assert!(spans[10..].iter().all(|span| (10..=20).contains(span)), "{spans:?}");
    }
}
