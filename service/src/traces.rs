//! Sends spans of requests to an OpenTelemetry collector by OTLP.
//!
//! - [`args`] reads the standard `OTEL_…` variables, and [`settings`] validates them.
//! - [`span`] has the spans of served and sent requests.
//! - `export` sends the spans from its own threads through a bounded queue.
//! - [`events`] adds log lines to the span of the request that wrote them.
//!
//! Without a collector there are no threads and no spans. The remaining cost is one branch a request.

pub mod args;
pub mod events;
pub mod settings;
pub mod span;

#[cfg(feature = "otlp")]
mod collector;
mod effect;

#[cfg(feature = "otlp")]
mod export;
#[cfg(not(feature = "otlp"))]
#[path = "traces/export_absent.rs"]
mod export;
mod headers;
#[cfg(feature = "otlp")]
mod resource;
#[cfg(feature = "otlp-tls")]
mod tls;

use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use prometheus::IntCounterVec;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::process::StartError;
use crate::server::Server;
use export::Pipeline;
use settings::TraceSettings;
use span::{ClientSpan, ServerSpan, SpanRef};

/// Reads the trace context of a request and returns the headers that pass it on.
#[cfg(fuzzing)]
pub(crate) fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    headers::inject(headers::extract(headers).span().span_context(), &mut passed);
    passed
}

/// Creates spans, or nothing if tracing is off. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Tracing>>);

#[derive(Debug)]
struct Tracing {
    tracer: SdkTracer,
    pipeline: Pipeline,
}

impl Traces {
    /// Registers the span counters. If spans are exported it starts the exporter; `server` flushes it at the end. Logs
    /// the set `OTEL_…` variables that change nothing.
    ///
    /// # Errors
    /// Returns an error when a metric, a thread or the exporter cannot be created.
    pub fn start(
        settings: TraceSettings,
        metrics: &Metrics,
        server: &mut Server,
    ) -> Result<Self, StartError> {
        let spans = register(metrics)?;
        if !settings.without_effect.is_empty() {
            let variables = settings.without_effect.join(", ");
            tracing::warn!(
                variables,
                tracing = settings.export.is_some(),
                "OpenTelemetry variables without effect"
            );
        }
        let Some(settings) = settings.export else { return Ok(Self::default()) };
        let pipeline = Pipeline::start(settings, &spans)?;
        let traces = Self(Some(Arc::new(Tracing { tracer: pipeline.tracer(), pipeline })));
        let flushed = traces.clone();
        server.flush_last(move |left| flushed.flush(left));
        Ok(traces)
    }

    /// Whether requests may have spans.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span of a served request. `name` is its method and route, such as `GET /data/{key}`.
    pub fn server(&self, name: &'static str, uri: &Uri, headers: &HeaderMap) -> ServerSpan {
        ServerSpan::new(self.0.as_ref().map(|on| on.served(name, uri, headers)))
    }

    /// Begins the span of one attempt to send a request to another process. Returns the headers that pass the span's
    /// context on. `name` is as in [`Traces::server`]. `deadline` is the time that the attempt may take. `url` is called
    /// only if the span is recorded.
    pub fn client(
        &self,
        name: &'static str,
        parent: &SpanRef,
        deadline: Duration,
        url: impl FnOnce() -> String,
    ) -> (ClientSpan, HeaderMap) {
        let mut headers = HeaderMap::new();
        let Some(on) = &self.0 else { return (ClientSpan::default(), headers) };
        let parent = Context::new().with_remote_span_context(parent.context().clone());
        let span = ClientSpan::new(on.begin(name, SpanKind::Client, &parent), name, url, deadline);
        headers::inject(span.at().context(), &mut headers);
        (span, headers)
    }

    /// Serves a request with its span as the current one, so that log lines become events of the span. Only for rare
    /// requests, because of the cost.
    pub async fn serve(
        &self,
        name: &'static str,
        uri: &Uri,
        headers: &HeaderMap,
        handler: impl Future<Output = Response>,
    ) -> Response {
        let Some(on) = &self.0 else { return handler.await };
        let context = Context::new().with_span(on.served(name, uri, headers));
        let response = handler.with_context(context.clone()).await;
        let span = context.span();
        span.set_attributes(span::outcome(&response));
        if response.status().is_server_error() {
            span.set_status(opentelemetry::trace::Status::error(""));
        }
        span.end();
        response
    }

    /// Runs work without a request in its own span; log lines become its events.
    pub fn within<R>(&self, name: &'static str, act: impl FnOnce() -> R) -> R {
        let Some(on) = &self.0 else { return act() };
        let span = on.begin(name, SpanKind::Internal, &Context::new());
        let _current = Context::new().with_span(span).attach();
        act()
    }

    fn flush(&self, within: Duration) {
        if let Some(on) = &self.0 {
            on.pipeline.flush(within);
        }
    }
}

impl Tracing {
    fn served(&self, name: &'static str, uri: &Uri, headers: &HeaderMap) -> Span {
        let mut span = self.begin(name, SpanKind::Server, &headers::extract(headers));
        span::describe(&mut span, || span::request(name, uri));
        span
    }

    fn begin(&self, name: &'static str, kind: SpanKind, parent: &Context) -> Span {
        self.tracer.build_with_context(self.tracer.span_builder(name).with_kind(kind), parent)
    }
}

/// Registers the span counters. Without tracing they have no series.
///
/// # Errors
/// Returns an error when the name is taken.
pub fn register(metrics: &Metrics) -> Result<IntCounterVec, prometheus::Error> {
    metrics.counters(
        "service_spans_total",
        "Spans by outcome: exported, failed, or dropped because the queue was full.",
        &["outcome"],
    )
}
