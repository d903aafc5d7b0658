//! Runs a stub gateway or shard that counts its requests.
//!
//! The gateway has four shards. The stub runs on its own thread.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use protocol::body::{LoadRefusal, LoadRefused};
use protocol::{Key, placement};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SHARDS: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// The behaviour of the stub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// Delay of every answer.
    pub(crate) delay: Duration,
    /// Answers with the next shard's id instead of the right one.
    pub(crate) wrong_shard: bool,
    /// Every n-th data request is answered with 503.
    pub(crate) fail_every: Option<u64>,
    /// Refuses to switch the cache on.
    pub(crate) no_cache: bool,
    /// Reports placement with bounded load in `/stats`.
    pub(crate) is_bounded: bool,
    /// Answers like a shard.
    pub(crate) is_shard: bool,
}

/// The requests received by a stub.
#[derive(Default)]
pub(crate) struct StubCounts {
    pub(crate) keys: HashMap<String, u64>,
    pub(crate) shards: [u64; 4],
    pub(crate) data: u64,
    pub(crate) cache: Option<Value>,
    pub(crate) hits: u64,
}

#[derive(Clone)]
pub(crate) struct Stub {
    pub(crate) addr: SocketAddr,
    behaviour: Behaviour,
    counts: Arc<Mutex<StubCounts>>,
}

impl Stub {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let stub = Self { addr: listener.local_addr().unwrap(), behaviour, counts: Arc::default() };
        let app = Router::new()
            .route("/stats", get(stats))
            .route("/admin/cache", post(switch_cache))
            .route("/admin/shard-mapping/{key}", get(mapping))
            .route("/data/{key}", get(data))
            .with_state(stub.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), app).await.unwrap();
            });
        });
        stub
    }

    pub(crate) fn counts(&self) -> std::sync::MutexGuard<'_, StubCounts> {
        self.counts.lock().unwrap()
    }

    /// Returns the requests for each key and resets them.
    pub(crate) fn take_keys(&self) -> HashMap<String, u64> {
        std::mem::take(&mut self.counts().keys)
    }

    /// Runs the generator against this gateway. If this machine was too busy, resets the counts and repeats the run.
    pub(crate) fn load(&self, args: &[&str]) -> Output {
        let gateway = format!("http://{}", self.addr);
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let output = load(&[args, &["--gateway", &gateway]].concat());
            let busy = refusal(&output).is_some_and(|refused| refused.reason.is_busy_machine());
            if !busy || Instant::now() > deadline {
                return output;
            }
            *self.counts() = StubCounts::default();
        }
    }

    /// Runs the generator and returns its JSON report.
    pub(crate) fn report(&self, args: &[&str]) -> Value {
        let output = self.load(&[args, &["--json", "-"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub(crate) fn load(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_load")).env_clear().args(args).output().unwrap()
}

/// Returns the standard error of a run, its exit code, and whether it printed to standard output.
pub(crate) fn outcome(output: &Output) -> (String, Option<i32>, bool) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    (text, output.status.code(), !output.stdout.is_empty())
}

/// Returns the refusal that a run printed in place of a report.
pub(crate) fn refusal(output: &Output) -> Option<LoadRefusal> {
    serde_json::from_slice::<LoadRefused>(&output.stdout).ok().map(|body| body.refused)
}

async fn stats(State(stub): State<Stub>) -> axum::Json<Value> {
    let placement = if stub.behaviour.is_bounded { "bounded" } else { "modulo" };
    axum::Json(json!({
        "num_shards": 4, "cache_enabled": false, "cache_ttl_seconds": 60, "cache_size": 0, "cache_hits": 0,
        "cache_misses": 0, "cache_coalesced": 0, "cache_hit_ratio": 0.0, "total_requests": 0, "started_at": 1.5,
        "shard_requests": [], "shard_requests_total": [], "top_keys": [], "placement": placement,
        "verdict": {
            "state": "not enough traffic", "requests": 0, "window_seconds": 0.0, "sentence": "Not enough traffic."
        },
        "mitigation": {
            "cache": "off", "ttl_seconds": 60, "stale_while_revalidate": false, "stale_seconds": 10,
            "negative_caching": false, "negative_ttl_ms": 500, "replication": 1, "replicated_keys": 8,
            "hot_entries": 6, "hot_keys": [], "replicated": [], "auto": {"enabled": false}
        }
    }))
}

async fn switch_cache(State(stub): State<Stub>, body: String) -> Response {
    if stub.behaviour.no_cache {
        return (StatusCode::FORBIDDEN, "not here").into_response();
    }
    let change: Value = serde_json::from_str(&body).unwrap();
    let state = json!({"cache_enabled": change["enabled"], "cache_ttl_seconds": change["ttl_seconds"]});
    stub.counts().cache = Some(change);
    axum::Json(state).into_response()
}

async fn mapping(Path(key): Path<String>) -> Response {
    let owner = placement::modulo(&Key::new(&key).unwrap(), SHARDS);
    let url = format!("http://shard-{owner}");
    axum::Json(json!({"key": key, "replicas": [owner], "shard_id": owner, "shard_url": url})).into_response()
}

async fn data(State(stub): State<Stub>, Path(key): Path<String>) -> Response {
    tokio::time::sleep(stub.behaviour.delay).await;
    let owner = placement::modulo(&Key::new(&key).unwrap(), SHARDS);
    let mut counts = stub.counts();
    counts.data += 1;
    if stub.behaviour.fail_every.is_some_and(|n| counts.data.is_multiple_of(n)) {
        return (StatusCode::SERVICE_UNAVAILABLE, "shed").into_response();
    }
    let of_key = counts.keys.entry(key.clone()).or_default();
    *of_key += 1;
    let again = *of_key > 1;
    let hit = again && counts.cache.is_some();
    counts.hits += u64::from(hit);
    counts.shards[owner.index()] += 1;
    let shard = if stub.behaviour.wrong_shard { (owner.0 + 1) % 4 } else { owner.0 };
    let body = if stub.behaviour.is_shard {
        json!({"key": key, "value": {}, "shard_id": shard, "found": true})
    } else {
        json!({"key": key, "value": {}, "shard_id": shard, "cache_hit": hit, "latency_ms": 0.1})
    };
    axum::Json(body).into_response()
}
