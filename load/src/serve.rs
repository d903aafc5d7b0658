//! `load serve`: starts scenarios for the live page, one at a time. On loopback, and for listed pages and programs alone.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use protocol::ErrorKind;
use protocol::shard_urls::ShardUrl;
use service::args::{ProcessArgs, SettingError};
use service::health::{self, Health};
use service::metrics::Metrics;
use service::origin::{Origins, Refusal};
use service::problem::{Problem, method_not_allowed, no_such_route};
use service::process::StartError;
use service::server::{Server, Started};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::config::TargetArgs;

mod handlers;
mod starter;

use self::starter::Starter;

/// The settings of the starter.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Port to listen on; 0 takes any free one
    #[arg(long, env = "PORT", default_value_t = 9011, value_name = "PORT")]
    pub port: u16,
    /// Where the load goes
    #[command(flatten)]
    pub target: TargetArgs,
    /// Origins whose pages may start and stop, scheme://host[:port] separated by commas [default: none]
    #[arg(
        long,
        env = "ADMIN_ORIGINS",
        default_value = "",
        hide_default_value = true,
        value_name = "ORIGINS"
    )]
    pub admin_origins: String,
    /// What all processes share
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// What the handlers share.
pub(crate) struct Serving {
    pub(crate) starter: Starter,
    origins: Origins,
}

impl ServeArgs {
    /// Binds and serves.
    ///
    /// # Errors
    /// When a setting cannot be used or the port cannot be had.
    pub fn start(self) -> Result<Started, StartError> {
        let address = self.process.bind_address;
        if !address.is_loopback() {
            let allowed = "a loopback address: whoever reaches it can start load";
            return Err(SettingError::new("BIND_ADDRESS", address.to_string(), allowed).into());
        }
        let origins = Origins::parse(&self.admin_origins)?;
        let server = Server::bind(SocketAddr::new(address, self.port), NonZeroUsize::MIN)?;
        let (health, tasks, metrics) = (server.health(), server.tasks(), Arc::new(Metrics::default()));
        let target = self.target.gateway;
        Ok(server.start(move |_| {
            router(target.clone(), origins.clone(), &tasks.stopping(), health.clone(), Arc::clone(&metrics))
        })?)
    }
}

/// All routes. What runs ends with `stopping`.
pub fn router(
    gateway: ShardUrl,
    origins: Origins,
    stopping: &CancellationToken,
    health: Health,
    metrics: Arc<Metrics>,
) -> Router {
    let starter = Starter::new(gateway, stopping.clone());
    let serving = Arc::new(Serving { starter, origins });
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
                format!("pages of {origin} may not call this; ADMIN_ORIGINS lists those that may"),
            ),
            Refusal::NotJson => {
                Problem::new(ErrorKind::NotJson, "a page must send Content-Type: application/json")
            }
        };
        problem.into_response()
    };
    serving.origins.guard("GET, POST, DELETE", request, next, refuse).await
}
