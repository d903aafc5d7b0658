//! Creates spans of served and sent requests; no-ops without tracing.
//!
//! Attributes use the names of OpenTelemetry's semantic conventions for HTTP, and a few names of the lab below.

use axum::http::{StatusCode, Uri};
use axum::response::Response;
pub use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanContext, Status};
use opentelemetry_sdk::trace::Span;
use protocol::{ErrorKind, Key, ShardId};
use std::time::{Duration, Instant};

/// Whether a read was answered from the cache.
pub const CACHE_HIT: &str = "cache_hit";
/// True if a read waited for the fetch of another request.
pub const COALESCED: &str = "cache.coalesced";

const STATUS_CODE: &str = "http.response.status_code";
const ERROR_TYPE: &str = "error.type";
/// The client has closed the connection, so no answer is sent.
const CANCELLED: &str = "cancelled";

/// The position of a span in its trace; empty without a span.
#[derive(Clone, Debug)]
pub struct SpanRef(SpanContext);

impl Default for SpanRef {
    fn default() -> Self {
        Self(SpanContext::NONE)
    }
}

impl SpanRef {
    pub(super) fn context(&self) -> &SpanContext {
        &self.0
    }
}

/// Name of the spans of reads.
pub const GET_DATA: &str = "GET /data/{key}";
/// Name of the spans of writes.
pub const POST_DATA: &str = "POST /data";

/// Attributes for the key of a request and its shard.
#[must_use]
pub fn request_attributes(key: &Key, shard: ShardId) -> [KeyValue; 2] {
    [KeyValue::new("shard.id", i64::from(shard.0)), KeyValue::new("key", key.to_string())]
}

/// The span of a served request. If it is dropped before its end, the request was cancelled because its client left.
#[derive(Debug, Default)]
#[must_use = "a span ends when it is dropped"]
pub struct ServerSpan(Option<Box<Open>>);

impl ServerSpan {
    pub(super) fn new(span: Option<Span>) -> Self {
        Self(span.map(|span| Box::new(Open { span, ended: false, until: None })))
    }

    /// The position of this span, for child spans.
    #[must_use]
    pub fn at(&self) -> SpanRef {
        at(&self.0)
    }

    /// Adds attributes. They are computed only if the span is recorded.
    pub fn describe<I: IntoIterator<Item = KeyValue>>(&mut self, attributes: impl FnOnce() -> I) {
        if let Some(open) = &mut self.0 {
            describe(&mut open.span, attributes);
        }
    }

    /// Links to another trace that did a part of this request's work.
    pub fn link(&mut self, other: &SpanRef) {
        if let Some(open) = &mut self.0
            && other.0.is_sampled()
        {
            open.span.add_link(other.0.clone(), Vec::new());
        }
    }

    /// Ends the span of a request that was answered with the status 200.
    pub fn succeeded(mut self) {
        if let Some(open) = &mut self.0 {
            describe(&mut open.span, || [KeyValue::new(STATUS_CODE, 200)]);
            open.end(false);
        }
    }

    /// Ends the span with the answer.
    pub fn end(mut self, response: &Response) {
        if let Some(open) = &mut self.0 {
            describe(&mut open.span, || outcome(response));
            open.end(response.status().is_server_error());
        }
    }
}

/// The span of one attempt to send a request to another process. If it is dropped before its end, the caller no
/// longer waits for the answer.
#[derive(Debug, Default)]
#[must_use = "a span ends when it is dropped"]
pub struct ClientSpan(Option<Box<Open>>);

impl ClientSpan {
    pub(super) fn new(
        mut span: Span,
        name: &'static str,
        url: impl FnOnce() -> String,
        deadline: Duration,
    ) -> Self {
        describe(&mut span, || {
            let [method, template] = method_and_route(name);
            let url = url();
            let uri = url.parse::<Uri>().unwrap_or_default();
            let mut list = vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("url.full", url),
                KeyValue::new("url.template", template),
                KeyValue::new("server.address", uri.host().unwrap_or_default().to_owned()),
            ];
            list.extend(uri.port_u16().map(|port| KeyValue::new("server.port", i64::from(port))));
            list
        });
        Self(Some(Box::new(Open { span, ended: false, until: Some(Instant::now() + deadline) })))
    }

    /// The position of this span.
    #[must_use]
    pub fn at(&self) -> SpanRef {
        at(&self.0)
    }

    /// Like [`ServerSpan::describe`].
    pub fn describe<I: IntoIterator<Item = KeyValue>>(&mut self, attributes: impl FnOnce() -> I) {
        if let Some(open) = &mut self.0 {
            describe(&mut open.span, attributes);
        }
    }

    /// Ends the span with the status of an answer.
    pub fn answered(mut self, status: StatusCode) {
        if let Some(open) = &mut self.0 {
            let failed = status.is_client_error() || status.is_server_error();
            describe(&mut open.span, || {
                let code = KeyValue::new(STATUS_CODE, i64::from(status.as_u16()));
                let error = failed.then(|| KeyValue::new(ERROR_TYPE, status.as_str().to_owned()));
                std::iter::once(code).chain(error)
            });
            open.end(failed);
        }
    }

    /// Ends the span without an answer. `why` is a short constant word.
    pub fn failed(mut self, why: &'static str) {
        if let Some(open) = &mut self.0 {
            describe(&mut open.span, || [KeyValue::new(ERROR_TYPE, why)]);
            open.end(true);
        }
    }
}

#[derive(Debug)]
struct Open {
    span: Span,
    ended: bool,
    /// The deadline for the answer, if there is one.
    until: Option<Instant>,
}

impl Open {
    fn end(&mut self, failed: bool) {
        if failed {
            self.span.set_status(Status::error(""));
        }
        self.ended = true;
        self.span.end();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            let late = self.until.is_some_and(|until| Instant::now() >= until);
            let why = if late { "timeout" } else { CANCELLED };
            describe(&mut self.span, || [KeyValue::new(ERROR_TYPE, why)]);
            self.end(late);
        }
    }
}

fn at(open: &Option<Box<Open>>) -> SpanRef {
    open.as_ref().map(|open| SpanRef(open.span.span_context().clone())).unwrap_or_default()
}

/// Adds attributes to a span if it is recorded.
pub(super) fn describe<I: IntoIterator<Item = KeyValue>>(span: &mut Span, attributes: impl FnOnce() -> I) {
    if span.is_recording() {
        span.set_attributes(attributes());
    }
}

/// Attributes known at the start of a served request.
pub(super) fn request(name: &'static str, uri: &Uri) -> [KeyValue; 4] {
    let [method, route] = method_and_route(name);
    [
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.route", route),
        KeyValue::new("url.path", uri.path().to_owned()),
        KeyValue::new("url.scheme", "http"),
    ]
}

/// Attributes known at its end.
pub(super) fn outcome(response: &Response) -> impl Iterator<Item = KeyValue> + use<> {
    let kind = response.extensions().get::<ErrorKind>();
    let code = KeyValue::new(STATUS_CODE, i64::from(response.status().as_u16()));
    std::iter::once(code).chain(kind.map(|kind| KeyValue::new(ERROR_TYPE, kind.name())))
}

fn method_and_route(name: &'static str) -> [&'static str; 2] {
    name.split_once(' ').map_or([name, ""], |(method, route)| [method, route])
}
