//! Serves `/live`, `/ready` and `/metrics`.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::exposition::Exposition;
use crate::metrics::Metrics;
use crate::problem::Problem;
use protocol::ErrorKind;

/// The readiness of the process. Cheap to clone; the default is "starting".
#[derive(Clone, Debug, Default)]
pub struct Health {
    phase: Arc<AtomicU8>,
    /// By topic.
    problems: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Health {
    /// Makes `/ready` answer 200 from now on.
    pub(crate) fn set_ready(&self) {
        self.phase.store(READY, Ordering::Relaxed);
    }

    /// Makes `/ready` answer 503 from now on.
    pub(crate) fn set_draining(&self) {
        self.phase.store(DRAINING, Ordering::Relaxed);
    }

    /// Whether the process is draining, so that endless work such as event streams must end.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == DRAINING
    }

    /// Makes `/ready` answer 503 with this problem while the process runs. `None` ends that. Each topic has its own
    /// problem.
    pub fn set_problem(&self, topic: &'static str, problem: Option<String>) {
        let mut problems = self.problems.lock();
        match problem {
            Some(problem) => problems.insert(topic, problem),
            None => problems.remove(topic),
        };
    }

    fn answer(&self) -> Response {
        match self.phase.load(Ordering::Relaxed) {
            READY => {
                let problems: Vec<String> = self.problems.lock().values().cloned().collect();
                if problems.is_empty() {
                    return (StatusCode::OK, "ready\n").into_response();
                }
                Problem::new(ErrorKind::NotReady, problems.join("; ")).into_response()
            }
            DRAINING => Problem::new(ErrorKind::NotReady, "draining").into_response(),
            _ => Problem::new(ErrorKind::NotReady, "starting").into_response(),
        }
    }
}

/// The routes of every process: `/live`, `/ready`, `/metrics`.
pub fn routes<S>(health: Health, metrics: Arc<Metrics>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let exposition = Arc::new(Exposition::default());
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(move || async move { health.answer() }))
        .route("/metrics", get(async move || exposition.answer(&metrics).await))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_between_start_and_drain() {
        let health = Health::default();
        assert_eq!(health.answer().status(), StatusCode::SERVICE_UNAVAILABLE);
        health.set_ready();
        assert_eq!(health.answer().status(), StatusCode::OK);
        health.set_problem("sight", Some("blind".to_owned()));
        assert_eq!(health.answer().status(), StatusCode::SERVICE_UNAVAILABLE);
        health.set_problem("other", Some("late".to_owned()));
        health.set_problem("sight", None);
        assert_eq!(health.answer().status(), StatusCode::SERVICE_UNAVAILABLE, "another problem is left");
        health.set_problem("other", None);
        assert_eq!(health.answer().status(), StatusCode::OK);
        health.set_draining();
        assert_eq!(health.answer().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
