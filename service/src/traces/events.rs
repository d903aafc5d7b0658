//! Turns log lines into events of the current span.
//!
//! Only rare requests make their span the current one ([`super::Traces::serve`], [`super::Traces::within`]). So the
//! cost is one thread-local access a log line, and nothing for a data request.

use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context as Current, KeyValue};
use std::fmt::Debug;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The tracing layer that records the events.
#[derive(Debug)]
pub struct SpanEvents;

impl<S: Subscriber> Layer<S> for SpanEvents {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        Current::map_current(|current| {
            if !current.has_active_span() || !current.span().is_recording() {
                return;
            }
            let mut fields = Fields { message: String::new(), others: Vec::new() };
            event.record(&mut fields);
            let name =
                if fields.message.is_empty() { event.metadata().name().into() } else { fields.message };
            fields.others.push(KeyValue::new("level", event.metadata().level().as_str()));
            current.span().add_event(name, fields.others);
        });
    }
}

struct Fields {
    message: String,
    others: Vec<KeyValue>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.others.push(KeyValue::new(name, value.to_owned())),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.others.push(KeyValue::new(field.name(), value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.others.push(KeyValue::new(field.name(), value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // OTLP has no unsigned numbers.
        self.record_i64(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.others.push(KeyValue::new(field.name(), value));
    }
}
