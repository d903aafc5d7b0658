//! Serves the embedded live page at `/` with a content security policy.

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use protocol::probe_api::PageLinks;

/// A file of the page.
struct File {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Embeds the bytes of a file in this folder.
macro_rules! file {
    ($path:literal, $kind:expr, $name:literal) => {
        File { path: $path, kind: $kind, bytes: include_bytes!(concat!("page/", $name)) }
    };
}

/// All files. Vendored files have a README in their folder.
const FILES: [File; 13] = [
    file!("/", HTML, "index.html"),
    file!("/page/page.css", CSS, "page.css"),
    file!("/page/icon.svg", "image/svg+xml", "icon.svg"),
    file!("/page/app.js", SCRIPT, "app.js"),
    file!("/page/feed.js", SCRIPT, "feed.js"),
    file!("/page/format.js", SCRIPT, "format.js"),
    file!("/page/shards.js", SCRIPT, "shards.js"),
    file!("/page/keys.js", SCRIPT, "keys.js"),
    file!("/page/store.js", SCRIPT, "store.js"),
    file!("/page/act.js", SCRIPT, "act.js"),
    file!("/page/scenarios.js", SCRIPT, "scenarios.js"),
    file!("/page/uplot.js", SCRIPT, "uplot/uPlot.iife.min.js"),
    file!("/page/uplot.css", CSS, "uplot/uPlot.min.css"),
];

/// The content security policy of the page.
fn policy(links: &PageLinks) -> HeaderValue {
    let mut policy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      object-src 'none'; connect-src 'self'"
        .to_owned();
    for url in [&links.gateway, &links.scenarios].into_iter().flatten() {
        policy.push(' ');
        policy.push_str(url);
    }
    // All links are valid URLs, so they have no byte that is invalid in a header.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'self'"))
}

/// A route for each file.
pub(crate) fn routes(links: &PageLinks) -> Router {
    let policy = policy(links);
    FILES.iter().fold(Router::new(), |router, file| {
        let policy = policy.clone();
        router.route(file.path, get(move || async move { answer(file, policy) }))
    })
}

fn answer(file: &'static File, policy: HeaderValue) -> Response {
    let fixed = |name: HeaderName, value: &'static str| (name, HeaderValue::from_static(value));
    let headers = [
        fixed(header::CONTENT_TYPE, file.kind),
        // After a restart the probe may be another build.
        fixed(header::CACHE_CONTROL, "no-cache"),
        fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, policy),
    ];
    (headers, file.bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maximum size of the page: the sum of all files as sent.
    const MAX_BYTES: usize = 150 * 1024;

    #[test]
    fn the_page_is_light() {
        let bytes: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!(bytes <= MAX_BYTES, "{bytes} bytes, at most {MAX_BYTES}");
    }

    #[test]
    fn the_page_asks_for_what_is_there_and_nothing_of_another_host() {
        for file in &FILES {
            let text = std::str::from_utf8(file.bytes).unwrap();
            let quoted = text.split(['"', '\'']).filter(|text| text.starts_with("/page/"));
            for path in quoted {
                assert!(FILES.iter().any(|file| file.path == path), "{}: {path}", file.path);
            }
            if !file.path.starts_with("/page/uplot") && file.kind != "image/svg+xml" {
                assert!(!text.contains("http://") && !text.contains("https://"), "{}", file.path);
            }
        }
    }

    #[test]
    fn only_the_labs_own_addresses_can_be_called() {
        let links = PageLinks { gateway: Some("http://localhost:8000".to_owned()), scenarios: None };
        let policy = policy(&links);
        let policy = policy.to_str().unwrap();
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
        assert!(policy.ends_with("connect-src 'self' http://localhost:8000"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
