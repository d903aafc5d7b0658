//! Lists pods through the Kubernetes API.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::list::PodList;
use crate::error::chain::chain;

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum size of an answer. A node has a few hundred pods of about 10 KiB each.
const MAX_BYTES: usize = 4 << 20;

/// The API server, and the credentials for it.
pub(super) struct Api {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    uri: Uri,
    token: PathBuf,
}

impl Api {
    /// Creates a client that trusts only `ca` (PEM) and sends the token in the file at `token`.
    ///
    /// # Errors
    /// A short reason when `ca` holds no certificate.
    pub(super) fn new(uri: Uri, ca: &[u8], token: PathBuf) -> Result<Self, String> {
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
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let https = HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_max_idle_per_host(1);
        Ok(Self { client: builder.build(https), uri, token })
    }

    /// Requests the list of pods.
    ///
    /// # Errors
    /// A short reason why there is no list.
    pub(super) async fn pods(&self) -> Result<PodList, String> {
        let response = tokio::time::timeout(TIMEOUT, self.request()).await;
        response.unwrap_or_else(|_| Err(format!("no response within {} s", TIMEOUT.as_secs())))
    }

    async fn request(&self) -> Result<PodList, String> {
        // Read the token each time, because it is renewed while the probe runs.
        let token = std::fs::read_to_string(&self.token)
            .map_err(|error| format!("{} cannot be read: {error}", self.token.display()))?;
        let request = Request::get(self.uri.clone())
            .header(AUTHORIZATION, format!("Bearer {}", token.trim()))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "hot-partition-probe")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(|error| chain(&error))?;
        match answer.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(format!(
                    "it returned {status}: allow the service account to list pods (with a Role, see deploy/kubernetes)"
                ));
            }
            status => return Err(format!("it returned {status}")),
        }
        let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
        let body = body
            .map_err(|error| format!("its response is incomplete or larger than 4 MiB: {error}"))?
            .to_bytes();
        serde_json::from_slice(&body).map_err(|error| format!("its response is not a PodList: {error}"))
    }
}
