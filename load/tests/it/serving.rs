//! Tests scenarios started over HTTP.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use load::serve::router;
use protocol::shard_urls::ShardUrls;
use serde_json::{Value, json};
use service::health::Health;
use service::origin::Origins;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::stub::{Behaviour, Stub};

const PAGE: &str = "http://localhost:9010";

fn serving(gateway: &str, stopping: &CancellationToken) -> Router {
    let gateway = ShardUrls::parse(gateway).unwrap().iter().next().cloned().unwrap();
    router(gateway, Origins::parse(PAGE).unwrap(), stopping, Health::default(), Default::default())
}

async fn ask(router: &Router, request: Request<Body>) -> (u16, Value) {
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn post(router: &Router, body: &Value) -> (u16, Value) {
    ask(router, Request::post("/scenarios").body(Body::from(body.to_string())).unwrap()).await
}

async fn get(router: &Router) -> Value {
    ask(router, Request::get("/scenarios").body(Body::empty()).unwrap()).await.1
}

async fn delete(router: &Router) -> (u16, Value) {
    ask(router, Request::delete("/scenarios").body(Body::empty()).unwrap()).await
}

/// Polls until no run is active.
async fn ended(router: &Router) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let seen = get(router).await;
        if seen["running"].is_null() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{seen}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn one_scenario_runs_at_a_time_and_stops_when_asked_to() {
    let stub = Stub::start(Behaviour::default());
    let router = serving(&format!("http://{}", stub.addr), &CancellationToken::new());
    let quiet = get(&router).await;
    assert!(quiet["running"].is_null() && quiet["last"].is_null(), "{quiet}");
    let offered = quiet["scenarios"].as_array().unwrap();
    assert!(offered.iter().any(|one| one["name"] == "celebrity" && one["about"] != ""), "{quiet}");

    let wish = json!({"scenario": "celebrity", "duration": 600});
    let (status, begun) = post(&router, &wish).await;
    assert_eq!(
        (status, &begun["running"]["scenario"], &begun["running"]["rate_factor"]),
        (202, &"celebrity".into(), &1.0.into())
    );
    let (status, refused) = post(&router, &wish).await;
    assert_eq!((status, &refused["kind"]), (409, &"already_running".into()), "{refused}");
    let (status, stopped) = delete(&router).await;
    assert_eq!(
        (status, &stopped["running"], &stopped["last"]["outcome"]),
        (200, &Value::Null, &"stopped".into())
    );
    // A stop without a run is no error.
    assert_eq!(delete(&router).await.0, 200);
}

#[tokio::test]
async fn what_has_ended_is_told() {
    let stub = Stub::start(Behaviour::default());
    let router = serving(&format!("http://{}", stub.addr), &CancellationToken::new());
    assert_eq!(post(&router, &json!({"scenario": "uniform", "duration": 1, "rate_factor": 4})).await.0, 202);
    let last = ended(&router).await["last"].clone();
    // A busy machine cannot keep the rate. Its run then fails with this reason.
    assert!(last["outcome"] == "done" || last["detail"].to_string().contains("this machine"), "{last}");
    let nobody = serving("http://127.0.0.1:9", &CancellationToken::new());
    assert_eq!(post(&nobody, &json!({"scenario": "uniform", "duration": 1})).await.0, 202);
    let last = ended(&nobody).await["last"].clone();
    assert_eq!(last["outcome"], "failed", "{last}");
}

#[tokio::test]
async fn a_run_ends_with_the_process() {
    let stub = Stub::start(Behaviour::default());
    let stopping = CancellationToken::new();
    let router = serving(&format!("http://{}", stub.addr), &stopping);
    assert_eq!(post(&router, &json!({"scenario": "uniform", "duration": 600})).await.0, 202);
    stopping.cancel();
    assert_eq!(ended(&router).await["last"]["outcome"], "stopped");
}

#[tokio::test]
async fn bad_wishes_are_refused_with_what_is_allowed() {
    let router = serving("http://127.0.0.1:9", &CancellationToken::new());
    for (wish, says) in [
        (json!({"scenario": "nonsense"}), "uniform"),
        (json!({"scenario": "--help"}), "uniform"),
        (json!({"scenario": "uniform", "duration": 0}), "1 to 86400"),
        (json!({"scenario": "uniform", "duration": 7_200}), "at most 3600 seconds"),
        (json!({"scenario": "uniform", "rate_factor": 1_000}), "100 times"),
        (json!({"scenario": "uniform", "rate_factor": "fast"}), "must be an object"),
        (json!([]), "must be an object"),
    ] {
        let (status, problem) = post(&router, &wish).await;
        assert_eq!((status, &problem["kind"]), (400, &"bad_body".into()), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{wish}: {problem}");
    }
    assert!(get(&router).await["running"].is_null());
}

#[tokio::test]
async fn only_listed_pages_may_start_and_stop() {
    let router = serving("http://127.0.0.1:9", &CancellationToken::new());
    let from = |method: &str, origin: &str, kind: &str| {
        let request = Request::builder().method(method).uri("/scenarios");
        request
            .header(header::ORIGIN, origin)
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from("{}"))
            .unwrap()
    };
    for method in ["POST", "DELETE", "OPTIONS"] {
        let (status, problem) = ask(&router, from(method, "http://evil.example", "application/json")).await;
        assert_eq!((status, &problem["kind"]), (403, &"origin_not_allowed".into()), "{method}");
    }
    assert_eq!(ask(&router, from("POST", PAGE, "text/plain")).await.0, 415);
    assert_eq!(ask(&router, from("DELETE", PAGE, "application/json")).await.0, 200);
    let preflight = router.clone().oneshot(from("OPTIONS", PAGE, "")).await.unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-methods"], "GET, POST, DELETE");
    assert_eq!(preflight.headers()["access-control-allow-origin"], PAGE);
}
