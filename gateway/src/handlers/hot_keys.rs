//! Handler of `GET /admin/hot-keys`, with counts that can be summed over gateways.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use protocol::body::HotKeys;
use std::sync::Arc;

use crate::error::Error;
use crate::state::Core;

/// Number of listed keys. With the longest keys and the most escapes they take 0.8 MiB, less than the smallest limit of
/// a reader.
const LISTED: usize = 256;

pub(crate) async fn show(State(core): State<Arc<Core>>) -> Response {
    // Ranking many keys takes milliseconds. A blocking thread keeps this core's requests from waiting.
    let shared = Arc::clone(&core.shared);
    let counted = tokio::task::spawn_blocking(move || {
        let [second, ten] = shared.stats.verdicts().judged();
        let (started_at, requests) = shared.stats.received();
        HotKeys { started_at, requests, summary: shared.stats.keys().summary(LISTED), second, ten }
    });
    match counted.await {
        Ok(hot_keys) => Json(hot_keys).into_response(),
        Err(_) => core.refuse(Error::Internal { what: "the counts cannot be read" }),
    }
}
