//! A stand-in for a shard: counts requests and reports them.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};
use service::server::{Server, Started};

use crate::harness::TIMEOUT;

pub(crate) struct Shard {
    pub(crate) addr: SocketAddr,
    /// The count in `/stats`.
    pub(crate) received: Arc<AtomicU64>,
    server: Option<Started>,
}

impl Shard {
    /// A shard that has already counted `received` requests.
    pub(crate) fn start(received: u64) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), received)
    }

    pub(crate) fn start_at(addr: SocketAddr, received: u64) -> Self {
        let received = Arc::new(AtomicU64::new(received));
        let server = Server::bind(addr, NonZeroUsize::MIN).unwrap();
        let addr = server.local_addr();
        let started_at =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let counter = Arc::clone(&received);
        let server = server.start(move |_| router(Arc::clone(&counter), started_at)).unwrap();
        Self { addr, received, server: Some(server) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Shard {
    /// Stops the shard, and waits until it no longer listens.
    pub(crate) fn stop(mut self) {
        let left = self.server.take().map(|server| server.stop(TIMEOUT));
        assert_eq!(left, Some(vec![]));
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        drop(self.server.take().map(|server| server.stop(Duration::from_secs(1))));
    }
}

/// A body of `/stats`, without keys.
pub(crate) fn stats(requests_received: u64, started_at: f64) -> Value {
    json!({
        "shard_id": 0, "total_keys": 0, "total_accesses": 0, "requests_received": requests_received,
        "started_at": started_at, "active_requests": 0, "requests_served": 0, "requests_rejected": 0,
        "requests_shed": 0, "top_keys": [], "hot_keys": [],
        "verdict": {"state": "balanced", "requests": 0, "window_seconds": 10.0, "sentence": ""},
    })
}

fn router(received: Arc<AtomicU64>, started_at: f64) -> Router {
    let (reads, writes) = (Arc::clone(&received), Arc::clone(&received));
    let count =
        |counter: Arc<AtomicU64>| async move { format!("{}\n", counter.fetch_add(1, Ordering::SeqCst)) };
    let metrics = Arc::clone(&received);
    Router::new()
        .route("/data/{key}", get(move || count(reads)))
        // The body is read, because a server that leaves it unread closes the connection.
        .route("/data", post(move |_: String| count(writes)))
        .route(
            "/metrics",
            get(move || async move {
                let count = metrics.load(Ordering::SeqCst);
                // Every request took between 1 and 2 ms.
                format!(
                    "# TYPE shard_requests_total counter\n\
                     shard_requests_total{{operation=\"get\",shard_id=\"0\"}} {count}\n\
                     shard_request_duration_seconds_bucket{{operation=\"get\",shard_id=\"0\",le=\"0.001\"}} 0\n\
                     shard_request_duration_seconds_bucket{{operation=\"get\",shard_id=\"0\",le=\"0.002\"}} {count}\n\
                     shard_request_duration_seconds_bucket{{operation=\"get\",shard_id=\"0\",le=\"+Inf\"}} {count}\n"
                )
            }),
        )
        .route(
            "/stats",
            get(move || async move {
                let requests_received = received.load(Ordering::SeqCst);
                Json(stats(requests_received, started_at))
            }),
        )
}
