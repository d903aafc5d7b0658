//! Starts scenarios for the live page, one at a time.
//!
//! This is `load serve`. It listens on loopback only, for programs and listed pages.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use protocol::ErrorKind;
use protocol::shard_urls::ShardUrl;
use service::args::SettingError;
use service::health::{self, Health};
use service::metrics::Metrics;
use service::origin::{Origins, Refusal};
use service::overload::Overload;
use service::problem::{Problem, method_not_allowed, no_such_route};
use service::process::StartError;
use service::server::{Server, Started};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::config::ServeArgs;

mod handlers;
mod starter;

use self::starter::Starter;

/// The state shared by the handlers.
pub(crate) struct Serving {
    pub(crate) starter: Starter,
    origins: Origins,
    pub(crate) overload: Overload,
}

/// Binds and serves.
///
/// # Errors
/// Returns an error when a setting is invalid or the port cannot be bound.
pub fn start(args: ServeArgs) -> Result<Started, StartError> {
    let address = args.process.bind_address;
    if !address.is_loopback() {
        let allowed = "allowed: a loopback address, because every client of this port can start load";
        return Err(SettingError::new("BIND_ADDRESS", address.to_string(), allowed).into());
    }
    let origins = Origins::parse(&args.admin_origins)?;
    let server = Server::bind(SocketAddr::new(address, args.port), NonZeroUsize::MIN)?;
    let (health, tasks, metrics) = (server.health(), server.tasks(), Arc::new(Metrics::default()));
    let gateway = args.target.gateway;
    Ok(server.start(move |_| {
        router(gateway.clone(), origins.clone(), &tasks.stopping(), health.clone(), Arc::clone(&metrics))
    })?)
}

/// All routes. A running scenario ends when `stopping` is cancelled.
pub fn router(
    gateway: ShardUrl,
    origins: Origins,
    stopping: &CancellationToken,
    health: Health,
    metrics: Arc<Metrics>,
) -> Router {
    let starter = Starter::new(gateway, stopping.clone());
    let serving = Arc::new(Serving { starter, origins, overload: Overload::default() });
    Router::new()
        .route("/scenarios", get(handlers::show).post(handlers::start).delete(handlers::stop))
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&serving), guard))
        .with_state(serving)
        .merge(health::routes(health, metrics))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
}

async fn guard(State(serving): State<Arc<Serving>>, request: Request, next: Next) -> Response {
    let refuse = |refusal| {
        let problem = match refusal {
            Refusal::Origin(origin) => Problem::new(
                ErrorKind::OriginNotAllowed,
                format!("pages of {origin} may not call this; add the origin to ADMIN_ORIGINS to allow it"),
            ),
            Refusal::NotJson => Problem::new(
                ErrorKind::NotJson,
                "requests from a page must have Content-Type: application/json",
            ),
        };
        problem.into_response()
    };
    serving.origins.guard("GET, POST, DELETE", request, next, refuse).await
}
