//! Handler of `POST /admin/peers`, and what other handlers tell other gateways.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use protocol::body::Gateways;
use std::sync::Arc;

use crate::sharing;
use crate::state::Core;

pub(crate) async fn exchange(State(core): State<Arc<Core>>, body: Body) -> Response {
    let body = match core.shared.overload.read(body).await {
        Ok(body) => body,
        Err(problem) => return core.refuse(problem.into()),
    };
    match sharing::accept(&core.shared, &body) {
        Ok(state) => Json(state).into_response(),
        Err(problem) => core.refuse(problem.into()),
    }
}

/// Sends a change to all other gateways. Returns at how many it holds; `None` without peers.
pub(super) async fn share(core: &Core) -> Option<Gateways> {
    if core.shared.peers.is_empty() {
        return None;
    }
    // In a task of its own, so that a client that goes away does not keep the change from other gateways.
    let shared = Arc::clone(&core.shared);
    let shared_with_all = core.tasks.spawn("peers", async move { sharing::with_all(&shared).await });
    // An error means that the process is ending. The report then has what is known.
    let _ = shared_with_all.await;
    report(core)
}

/// At how many gateways the settings hold, by their last answers.
pub(super) fn report(core: &Core) -> Option<Gateways> {
    core.shared.peers.report(&core.shared.mitigations.shared())
}
