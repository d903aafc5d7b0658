//! A gateway with four shards that counts what it is asked, on a thread of its own.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use protocol::{Key, placement};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SHARDS: NonZeroU32 = NonZeroU32::new(4).unwrap();

/// How the stub answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behaviour {
    /// Answers nothing before this has passed.
    pub(crate) delay: Duration,
    /// Names the next shard instead of the right one.
    pub(crate) wrong_shard: bool,
    /// Every n-th data request is a 503.
    pub(crate) fail_every: Option<u64>,
    /// The cache cannot be switched on.
    pub(crate) no_cache: bool,
    /// How it says that it places keys.
    pub(crate) placement: &'static str,
}

/// What the stub was asked.
#[derive(Default)]
pub(crate) struct Books {
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
    books: Arc<Mutex<Books>>,
}

impl Stub {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let stub = Self { addr: listener.local_addr().unwrap(), behaviour, books: Arc::default() };
        let app = Router::new()
            .route("/stats", get(stats))
            .route("/admin/cache", post(switch))
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

    pub(crate) fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// The requests for each key; none are left in the books.
    pub(crate) fn take_keys(&self) -> HashMap<String, u64> {
        std::mem::take(&mut self.books().keys)
    }

    /// Runs the generator against this gateway; a run that this machine was too busy for is made again, with new books.
    pub(crate) fn load(&self, args: &[&str]) -> Output {
        let gateway = format!("http://{}", self.addr);
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let output = load(&[args, &["--gateway", &gateway]].concat());
            let busy = String::from_utf8_lossy(&output.stderr).contains("this machine");
            if !busy || Instant::now() > deadline {
                return output;
            }
            *self.books() = Books::default();
        }
    }

    /// The same; gives its JSON report.
    pub(crate) fn report(&self, args: &[&str]) -> Value {
        let output = self.load(&[args, &["--json", "-"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub(crate) fn load(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_load")).env_clear().args(args).output().unwrap()
}

/// What a run said on standard error, its exit code, and whether it printed a report.
pub(crate) fn said(output: &Output) -> (String, Option<i32>, bool) {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    (text, output.status.code(), !output.stdout.is_empty())
}

async fn stats(State(stub): State<Stub>) -> axum::Json<Value> {
    axum::Json(json!({"num_shards": 4, "cache_size": 0, "placement": stub.behaviour.placement}))
}

async fn switch(State(stub): State<Stub>, body: String) -> Response {
    if stub.behaviour.no_cache {
        return (StatusCode::FORBIDDEN, "not here").into_response();
    }
    let wish: Value = serde_json::from_str(&body).unwrap();
    let answer = json!({"cache_enabled": wish["enabled"], "cache_ttl_seconds": wish["ttl_seconds"]});
    stub.books().cache = Some(wish);
    axum::Json(answer).into_response()
}

async fn mapping(Path(key): Path<String>) -> Response {
    let owner = placement::modulo(&Key::new(&key).unwrap(), SHARDS);
    axum::Json(json!({"key": key, "shard_id": owner.0})).into_response()
}

async fn data(State(stub): State<Stub>, Path(key): Path<String>) -> Response {
    tokio::time::sleep(stub.behaviour.delay).await;
    let owner = placement::modulo(&Key::new(&key).unwrap(), SHARDS);
    let mut books = stub.books();
    books.data += 1;
    if stub.behaviour.fail_every.is_some_and(|n| books.data.is_multiple_of(n)) {
        return (StatusCode::SERVICE_UNAVAILABLE, "shed").into_response();
    }
    let seen = books.keys.entry(key.clone()).or_default();
    *seen += 1;
    let again = *seen > 1;
    let hit = again && books.cache.is_some();
    books.hits += u64::from(hit);
    books.shards[owner.index()] += 1;
    let shard = if stub.behaviour.wrong_shard { (owner.0 + 1) % 4 } else { owner.0 };
    axum::Json(json!({"key": key, "value": {}, "shard_id": shard, "cache_hit": hit, "latency_ms": 0.1}))
        .into_response()
}
