//! Permissions of pages of other origins.

use serde_json::json;

use crate::bench::{Answer, Bench};
use crate::stub::Stub;

const PAGE: &str = "http://localhost:9010";

async fn bench() -> Bench {
    let origins = "http://localhost:9010,http://127.0.0.1:9010";
    Bench::over(&Stub::honest(0).await, &["--admin-origins", origins])
}

async fn post(bench: &Bench, path: &str, origin: &str, content_type: &str) -> Answer {
    let post =
        bench.client.post(bench.url(path)).header("origin", origin).header("content-type", content_type);
    bench.answer(post.body(r#"{"enabled":true}"#)).await
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_call_with_json() {
    let bench = bench().await;
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        for (path, origin) in
            [("/admin/cache", PAGE), ("/admin/mitigation", PAGE), ("/admin/reset", "http://127.0.0.1:9010")]
        {
            let answer = post(&bench, path, origin, content_type).await;
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(origin)));
            assert_eq!(answer.header("vary"), Some("origin"));
        }
    }
    assert_eq!(bench.stats().await["cache_enabled"], true);
}

#[tokio::test]
async fn anything_else_from_a_page_is_refused_and_changes_nothing() {
    let bench = bench().await;
    for path in ["/admin/cache", "/admin/mitigation", "/admin/reset"] {
        for origin in ["http://evil.example", "null", "http://localhost:9011", "https://localhost:9010", ""] {
            let answer = post(&bench, path, origin, "application/json").await;
            answer.assert_error(403, "origin_not_allowed");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
            let answer = post(&bench, path, PAGE, content_type).await;
            answer.assert_error(415, "not_json");
            // The page may read the reason.
            assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
        }
    }
    assert_eq!(bench.stats().await["cache_enabled"], false);
}

#[tokio::test]
async fn without_a_list_no_page_may_and_programs_still_may() {
    let bench = Bench::over(&Stub::honest(0).await, &[]);
    post(&bench, "/admin/cache", PAGE, "application/json").await.assert_error(403, "origin_not_allowed");
    assert_eq!(bench.cache(r#"{"enabled":true}"#).await["cache_enabled"], true);
}

#[tokio::test]
async fn preflights_are_answered_for_listed_origins_only() {
    let bench = bench().await;
    let preflight = |origin: &'static str| {
        let options = bench.client.request(reqwest::Method::OPTIONS, bench.url("/admin/cache"));
        let request = options.header("origin", origin).header("access-control-request-method", "POST");
        bench.answer(request.header("access-control-request-headers", "content-type"))
    };
    let allowed = preflight(PAGE).await;
    assert_eq!((allowed.status, allowed.text.as_str()), (204, ""));
    assert_eq!(allowed.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(allowed.header("access-control-allow-methods"), Some("GET, POST"));
    assert_eq!(allowed.header("access-control-allow-headers"), Some("content-type"));
    let refused = preflight("http://evil.example").await;
    refused.assert_error(403, "origin_not_allowed");
    assert_eq!(refused.header("access-control-allow-methods"), None);
}

#[tokio::test]
async fn reading_where_a_key_lives_is_open_to_programs_and_readable_for_listed_pages() {
    let bench = bench().await;
    let get = |origin: &'static str| {
        bench.answer(bench.client.get(bench.url("/admin/shard-mapping/k")).header("origin", origin))
    };
    let listed = get(PAGE).await;
    assert_eq!((listed.status, listed.header("access-control-allow-origin")), (200, Some(PAGE)));
    assert_eq!(listed.json()["shard_id"], json!(0));
    assert_eq!(get("http://evil.example").await.header("access-control-allow-origin"), None);
}
