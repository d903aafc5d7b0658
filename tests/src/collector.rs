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
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::poll;

/// A received span with the service that sent it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The `service.name` attribute of the resource.
    pub service: String,
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
            let service = attribute(
                &group.resource.map(|resource| resource.attributes).unwrap_or_default(),
                "service.name",
            );
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            kept.extend(spans.map(|span| Received { service: service.clone(), span }));
        }
    }
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
