//! An OTLP collector for tests that stores received spans.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use parking_lot::Mutex;
use prost::Message;
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::poll;

/// A received span with the service that sent it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The `service.name` attribute of the resource.
    pub service: String,
    /// All attributes of the resource.
    pub resource: Vec<KeyValue>,
    /// The unchanged span.
    pub span: Span,
}

impl Received {
    /// An attribute as text. Empty if missing.
    #[must_use]
    pub fn attribute(&self, key: &str) -> String {
        attribute(&self.span.attributes, key)
    }
}

/// An attribute as text. Empty if missing.
#[must_use]
pub fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let value =
        attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.as_ref());
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

/// A running collector. It runs until the test's runtime ends.
#[derive(Clone, Default)]
pub struct Collector {
    spans: Arc<Mutex<Vec<Received>>>,
    forgets: bool,
}

impl Collector {
    /// Starts a gRPC collector. Also returns its endpoint.
    ///
    /// # Panics
    /// When no port is available.
    pub async fn grpc() -> (Self, String) {
        Self::default().serve_grpc().await
    }

    /// Starts a collector that discards all spans, and returns its endpoint. For tests with any number of spans.
    ///
    /// # Panics
    /// When no port is available.
    pub async fn sink() -> String {
        Self { forgets: true, ..Self::default() }.serve_grpc().await.1
    }

    async fn serve_grpc(self) -> (Self, String) {
        let (listener, endpoint) = listen().await;
        let collector = self;
        let service = TraceServiceServer::new(collector.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        (collector, endpoint)
    }

    /// Starts an HTTP collector. Also returns its endpoint.
    ///
    /// # Panics
    /// When no port is available.
    pub async fn http() -> (Self, String) {
        let (collector, (listener, endpoint)) = (Self::default(), listen().await);
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, endpoint)
    }

    /// All spans received so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Received> {
        self.spans.lock().clone()
    }

    /// Waits until `count` spans have been received, and returns them.
    ///
    /// # Panics
    /// When there are fewer after 20 seconds, or more.
    pub async fn exactly(&self, count: usize) -> Vec<Received> {
        let came = poll::until(Duration::from_secs(20), || async {
            let spans = self.spans();
            if spans.len() < count {
                Err(format!("{} of {count}: {spans:#?}", spans.len()))
            } else {
                Ok(spans)
            }
        });
        let spans = came.await.unwrap_or_else(|late| panic!("the spans did not arrive: {late}"));
        assert_eq!(spans.len(), count, "{spans:#?}");
        spans
    }

    fn keep(&self, request: ExportTraceServiceRequest) {
        if self.forgets {
            return;
        }
        let mut kept = self.spans.lock();
        for group in request.resource_spans {
            let resource = group.resource.map(|resource| resource.attributes).unwrap_or_default();
            let service = attribute(&resource, "service.name");
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.extend(spans.map(|span| Received {
                service: service.clone(),
                resource: resource.clone(),
                span,
            }));
        }
    }
}

/// Puts TLS in front of a collector, with a certificate of its own. Returns the endpoint and the certificate in PEM.
///
/// # Panics
/// When no certificate can be made, or no port is available.
pub async fn with_tls(endpoint: &str) -> (String, String) {
    let to = endpoint.trim_start_matches("http://").to_owned();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions of ring")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("its own key");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (listener, plain) = listen().await;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                // A client that does not trust the certificate ends here.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let Ok(mut collector) = TcpStream::connect(to).await else { return };
                let _ = copy_bidirectional(&mut client, &mut collector).await;
            });
        }
    });
    (plain.replace("http://", "https://"), made.cert.pem())
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, endpoint)
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.keep(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn take(State(collector): State<Collector>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|_| StatusCode::BAD_REQUEST)?;
    collector.keep(request);
    Ok(ExportTraceServiceResponse::default().encode_to_vec())
}
