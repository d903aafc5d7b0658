//! Sends the watch's requests to the API server over TLS.
//!
//! The client of `kube` neither limits what it reads nor ends a request that is not answered, so both happen here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, USER_AGENT};
use hyper::http::HeaderValue;
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Notify;
use tower::BoxError;

use super::bounded::Bounded;
use super::selection::ApiServer;

/// Timeout of a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Timeout of a response's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout of a list after its head.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// Idle time after which the kernel checks whether the server's host still answers, and the interval between checks. A
/// watch sends nothing, so without checks a lost connection would be noticed only when it is renewed.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Number of checks without an answer after which a connection is lost.
const KEEPALIVE_RETRIES: u32 = 3;

/// Minimum interval between watches, which is up to twice as long at random.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// The API does not accept a request.
#[derive(Debug, thiserror::Error)]
#[error("it returned {0}")]
pub(super) struct Refused(pub(super) StatusCode);

/// The connections to an API server. They belong to the runtime in which they are used.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    server: ApiServer,
    /// Notified when the API accepts a watch.
    accepted: Arc<Notify>,
    /// When the last watch was requested.
    last_watch: Arc<Mutex<Option<Instant>>>,
}

impl Transport {
    /// Creates a client without connections that sends the server's token.
    pub(super) fn new(server: ApiServer, tls: ClientConfig, accepted: Arc<Notify>) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(KEEPALIVE.0));
        http.set_keepalive_interval(Some(KEEPALIVE.1));
        http.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_max_idle_per_host(1);
        Self { client: builder.build(https), server, accepted, last_watch: Arc::default() }
    }

    /// Waits until the last watch is old enough. A server that ends each watch at once does so without an error.
    async fn wait_for_turn(&self) {
        let last = self.last_watch.lock().replace(Instant::now());
        let pause = WATCH_INTERVAL.mul_f64(1.0 + fastrand::f64());
        let Some(wait) = last.and_then(|at| pause.checked_sub(at.elapsed())) else { return };
        tokio::time::sleep(wait).await;
        *self.last_watch.lock() = Some(Instant::now());
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<Bounded<Incoming>>, BoxError> {
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let is_watch = path.query().is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        if is_watch {
            self.wait_for_turn().await;
        }
        *request.uri_mut() = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(self.server.authority.clone())
            .path_and_query(path)
            .build()?;
        // Read the token each time, because it is renewed while the probe runs.
        let token = std::fs::read_to_string(&self.server.token)
            .map_err(|error| format!("{} cannot be read: {error}", self.server.token.display()))?;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {}", token.trim()))?);
        headers.insert(USER_AGENT, HeaderValue::from_static("hot-partition-probe"));
        let answer = tokio::time::timeout(HEAD_TIMEOUT, self.client.request(request)).await;
        let answer = answer.map_err(|_| format!("no response within {} s", HEAD_TIMEOUT.as_secs()))??;
        if answer.status() != StatusCode::OK {
            return Err(Refused(answer.status()).into());
        }
        if is_watch {
            self.accepted.notify_one();
        }
        Ok(answer
            .map(|body| if is_watch { Bounded::changes(body) } else { Bounded::list(body, LIST_TIMEOUT) }))
    }
}

impl tower::Service<Request<Body>> for Transport {
    type Response = Response<Bounded<Incoming>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}

/// TLS that trusts only the certificates in `ca` (PEM).
///
/// # Errors
/// A short reason when `ca` holds no certificate.
pub(super) fn tls(ca: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let certificate = certificate.map_err(|error| format!("not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
