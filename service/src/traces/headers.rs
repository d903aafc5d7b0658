//! Reads and writes W3C Trace Context headers: `traceparent` and `tracestate`.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Returns the trace context in the headers; an empty one without it.
pub(super) fn extract(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Head(headers))
}

/// Writes the context of a span to the headers.
pub(super) fn inject(span: &SpanContext, headers: &mut HeaderMap) {
    let context = Context::new().with_remote_span_context(span.clone());
    TraceContextPropagator::new().inject_context(&context, &mut HeadToSend(headers));
}

struct Head<'a>(&'a HeaderMap);

impl Extractor for Head<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadToSend<'a>(&'a mut HeaderMap);

impl Injector for HeadToSend<'_> {
    fn set(&mut self, key: &str, value: String) {
        // The propagator also sets an empty `tracestate`, which would add useless bytes to every request.
        if !value.is_empty()
            && let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value))
        {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_found_again_and_nothing_else_is_sent() {
        let mut came = HeaderMap::new();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        came.insert("traceparent", HeaderValue::from_static(parent));
        let context = extract(&came);
        let mut sent = HeaderMap::new();
        inject(context.span().span_context(), &mut sent);
        assert_eq!((sent.len(), sent.get("traceparent").unwrap().to_str().unwrap()), (1, parent));
    }

    #[test]
    fn a_head_without_a_usable_parent_begins_a_trace() {
        for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "x"] {
            let mut came = HeaderMap::new();
            came.insert("traceparent", HeaderValue::from_static(bad));
            assert!(!extract(&came).has_active_span(), "{bad}");
        }
    }
}
