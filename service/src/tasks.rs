//! Spawns background tasks, so that a drain can wait for them.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tracks the tasks of a process on all its runtimes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    stop: CancellationToken,
    failed: CancellationToken,
}

impl Tasks {
    /// Spawns a task on the runtime of the caller.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let running = Running::enter(name, &self.running);
        self.tracker.spawn(async move {
            let _running = running;
            task.await
        })
    }

    /// Spawns a task that calls `tick` every `period` until the process stops, and once more at the end.
    pub fn every(
        &self,
        name: &'static str,
        period: std::time::Duration,
        mut tick: impl FnMut() + Send + 'static,
    ) {
        let stop = self.stop.clone();
        drop(self.spawn(name, async move {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            while stop.run_until_cancelled(interval.tick()).await.is_some() {
                tick();
            }
            tick();
        }));
    }

    /// Returns a token that is cancelled when background tasks must end: after the last request in flight.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Makes the process drain and end with exit code 1.
    pub fn fail(&self) {
        self.failed.cancel();
    }

    /// Returns a token that is cancelled when a task has called [`Tasks::fail`].
    pub(crate) fn failed(&self) -> CancellationToken {
        self.failed.clone()
    }

    /// Requests background tasks to end. [`Tasks::wait`] then waits for them.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.tracker.close();
    }

    /// Returns when no task is left.
    pub(crate) async fn wait(&self) {
        self.tracker.wait().await;
    }

    /// The names of the running tasks, with their numbers.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        self.running.lock().iter().map(|(name, count)| format!("{name} ({count})")).collect()
    }
}

/// Counts one task under its name until it is dropped, even if the task panics or is cancelled.
struct Running {
    name: &'static str,
    counts: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl Running {
    fn enter(name: &'static str, counts: &Arc<Mutex<BTreeMap<&'static str, usize>>>) -> Self {
        *counts.lock().entry(name).or_default() += 1;
        Self { name, counts: Arc::clone(counts) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                counts.remove(self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn what_is_left_is_named_and_what_ends_is_not() {
        let tasks = Tasks::default();
        drop(tasks.spawn("endless", std::future::pending::<()>()));
        drop(tasks.spawn("endless", std::future::pending::<()>()));
        let _ = tasks.spawn("short", async {}).await;
        tasks.stop();
        assert!(tokio::time::timeout(Duration::from_millis(20), tasks.wait()).await.is_err());
        assert_eq!(tasks.left(), ["endless (2)"]);
    }

    #[tokio::test]
    async fn a_ticking_task_ticks_a_last_time_and_ends() {
        let tasks = Tasks::default();
        let (sender, mut ticks) = tokio::sync::mpsc::unbounded_channel();
        tasks.every("ticker", Duration::from_secs(3_600), move || {
            let _ = sender.send(());
        });
        assert_eq!(ticks.recv().await, Some(()));
        tasks.stop();
        tasks.wait().await;
        assert_eq!(ticks.recv().await, Some(()));
        assert_eq!(ticks.recv().await, None);
    }
}
