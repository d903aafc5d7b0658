//! Logs a problem that repeats.

use std::time::{Duration, Instant};

/// Minimum interval between warnings about the same problem.
const INTERVAL: Duration = Duration::from_secs(60);

/// The warning that was logged last.
#[derive(Debug, Default)]
pub(super) struct Warnings(Option<(String, Instant)>);

impl Warnings {
    /// Logs a new problem at once, and the same one once a minute. Returns whether it was logged.
    pub(super) fn warn(&mut self, problem: &str) -> bool {
        let last = self.0.as_ref();
        if last.is_some_and(|(text, at)| text == problem && at.elapsed() < INTERVAL) {
            return false;
        }
        tracing::warn!("{problem}");
        self.0 = Some((problem.to_owned(), Instant::now()));
        true
    }
}
