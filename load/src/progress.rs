//! Prints a run's progress on standard error, one line a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The counts of a run so far, shared by its streams.
#[derive(Debug, Default)]
pub struct Progress {
    /// Sent requests.
    pub sent: AtomicU64,
    /// Failed requests.
    pub errors: AtomicU64,
}

/// A task that prints until this is dropped.
pub struct Printer(tokio::task::JoinHandle<()>);

impl Progress {
    /// Prints once a second if `enabled`. `total` describes the whole run: `120 s` or `1000000 requests`.
    pub fn print(self: &Arc<Self>, enabled: bool, total: String) -> Option<Printer> {
        let progress = Arc::clone(self);
        enabled.then(|| {
            Printer(tokio::spawn(async move {
                let start = Instant::now();
                let mut seconds = tokio::time::interval(Duration::from_secs(1));
                seconds.tick().await;
                loop {
                    seconds.tick().await;
                    eprintln!("{}", progress.line(start.elapsed(), &total));
                }
            }))
        })
    }

    fn line(&self, elapsed: Duration, total: &str) -> String {
        let (sent, errors) = (self.sent.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed));
        format!("{:.0} s of {total}: {sent} sent, {errors} errors", elapsed.as_secs_f64())
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let progress = Progress { sent: 260.into(), errors: 1.into() };
        assert_eq!(progress.line(Duration::from_millis(2_004), "120 s"), "2 s of 120 s: 260 sent, 1 errors");
    }
}
