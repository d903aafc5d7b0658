//! One line a second on standard error: how far a run is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a run has done so far; shared by its streams.
#[derive(Debug, Default)]
pub struct Progress {
    /// Requests sent.
    pub sent: AtomicU64,
    /// Requests that failed.
    pub errors: AtomicU64,
}

/// Prints until it is dropped.
pub struct Printer(tokio::task::JoinHandle<()>);

impl Progress {
    /// Prints once a second, `of` being the whole: `120 s` or `1000000 requests`. Prints nothing unless `wanted`.
    pub fn print(self: &Arc<Self>, wanted: bool, of: String) -> Option<Printer> {
        let progress = Arc::clone(self);
        wanted.then(|| {
            Printer(tokio::spawn(async move {
                let start = Instant::now();
                let mut seconds = tokio::time::interval(Duration::from_secs(1));
                seconds.tick().await;
                loop {
                    seconds.tick().await;
                    eprintln!("{}", progress.line(start.elapsed(), &of));
                }
            }))
        })
    }

    fn line(&self, elapsed: Duration, of: &str) -> String {
        let (sent, errors) = (self.sent.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed));
        format!("{:.0} s of {of}: {sent} sent, {errors} errors", elapsed.as_secs_f64())
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
