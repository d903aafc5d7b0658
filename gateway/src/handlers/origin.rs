//! Guards `/admin/*` against browser pages of other origins.
//!
//! The rule is in [`service::origin`]. Refusals count as the gateway's errors.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use service::origin::Refusal;
use std::sync::Arc;

use crate::error::Error;
use crate::state::Core;

pub(crate) async fn guard(State(core): State<Arc<Core>>, request: Request, next: Next) -> Response {
    let refuse = |refusal| match refusal {
        Refusal::Origin(origin) => core.refuse(Error::OriginNotAllowed { origin }),
        Refusal::NotJson => core.refuse(Error::NotJson),
    };
    core.shared.admin_origins.guard("GET, POST", request, next, refuse).await
}
