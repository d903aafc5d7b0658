//! Exports spans in batches and counts the outcomes.
//!
//! A bounded queue holds the spans. Two threads do the export: the SDK's batch processor forms the batches, and a
//! runtime of the exporter sends them. So no export work runs on the threads that serve requests. A batch that cannot
//! be sent is lost and counted. Nothing is sent twice.

use opentelemetry::Context;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter,
    SpanProcessor,
};
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::collector;
use super::resource::resource;
use super::settings::ExportSettings;
use crate::process::StartError;

/// Minimum interval between two warnings about lost spans.
const WARNING_PERIOD: Duration = Duration::from_secs(60);

/// The exporter with its threads. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Pipeline {
    provider: SdkTracerProvider,
    counts: Arc<SpanCounts>,
    /// Dropping it ends the runtime that sends the batches.
    _running: oneshot::Sender<()>,
}

impl Pipeline {
    /// Starts both threads. An unreachable collector shows only when the first batch is sent.
    pub(super) fn start(settings: ExportSettings, spans: &IntCounterVec) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name("traces".into()).spawn(move || {
            // A message and a closed channel both mean that the pipeline is gone.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        let exporter = {
            let _inside = handle.enter();
            collector::exporter(&settings)?
        };
        let counts = Arc::new(SpanCounts::new(settings.queue, spans));
        let sender = Sender {
            otlp: Arc::new(exporter),
            runtime: handle,
            timeout: settings.timeout,
            counts: Arc::clone(&counts),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(settings.queue)
            .with_max_export_batch_size(settings.batch)
            .with_scheduled_delay(settings.delay)
            .build();
        let queue = Queue { batches: BatchSpanProcessor::new(sender, batches), counts: Arc::clone(&counts) };
        let provider = SdkTracerProvider::builder()
            .with_sampler(settings.sampler)
            .with_resource(resource(settings.service_name, settings.default_name))
            .with_span_processor(queue)
            .build();
        Ok(Self { provider, counts, _running: running })
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("hot-partition-lab")
    }

    /// Sends the queued spans. Spans that are not sent within `within` are lost.
    pub(super) fn flush(&self, within: Duration) {
        if self.provider.shutdown_with_timeout(within).is_err() {
            let left = self.counts.waiting.load(Ordering::Relaxed);
            tracing::warn!(left, "the drain timeout expired before all spans were sent");
        }
    }
}

/// Counts the spans by outcome.
#[derive(Debug)]
struct SpanCounts {
    room: usize,
    waiting: AtomicUsize,
    exported: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
    last_warning: Mutex<LastWarning>,
}

/// The state of the last warning about lost spans.
#[derive(Debug, Default)]
struct LastWarning {
    at: Option<Instant>,
    lost: u64,
}

impl SpanCounts {
    fn new(room: usize, spans: &IntCounterVec) -> Self {
        let [exported, failed, dropped] =
            ["exported", "failed", "dropped"].map(|outcome| spans.with_label_values(&[outcome]));
        Self { room, waiting: AtomicUsize::new(0), exported, failed, dropped, last_warning: Mutex::default() }
    }

    /// Takes a place in the queue. If the queue is full, the span counts as dropped.
    fn enter(&self) -> bool {
        let fits = self.waiting.fetch_add(1, Ordering::Relaxed) < self.room;
        if !fits {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.inc();
        }
        fits
    }

    fn leave(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }

    fn sent(&self, spans: usize, result: &OTelSdkResult) {
        let counter = if result.is_ok() { &self.exported } else { &self.failed };
        counter.inc_by(spans as u64);
        self.warn(result.as_ref().err(), Instant::now());
    }

    /// Warns at most once a period about lost spans, with the cause.
    fn warn(&self, err: Option<&OTelSdkError>, now: Instant) {
        let lost = self.failed.get() + self.dropped.get();
        let mut last_warning = self.last_warning.lock();
        let due = last_warning.at.is_none_or(|at| now.duration_since(at) >= WARNING_PERIOD);
        if lost > last_warning.lost && due {
            let more = lost - last_warning.lost;
            *last_warning = LastWarning { at: Some(now), lost };
            let why = err.map_or_else(|| "the queue was full".to_owned(), ToString::to_string);
            tracing::warn!(why, lost = more, "spans are lost; requests are not affected");
        }
    }
}

/// The SDK's batch processor behind a counter of queued spans. The SDK drops excess spans without a metric.
#[derive(Debug)]
struct Queue {
    batches: BatchSpanProcessor,
    counts: Arc<SpanCounts>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        // A span leaves the SDK's queue before it leaves this counter. So the SDK's queue has room whenever this
        // counter has.
        if span.span_context.is_sampled() && self.counts.enter() {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Sends each batch on the exporter's runtime, with a timeout.
#[derive(Debug)]
struct Sender {
    otlp: Arc<OtlpExporter>,
    runtime: Handle,
    timeout: Duration,
    counts: Arc<SpanCounts>,
}

impl SpanExporter for Sender {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.counts.leave(spans);
        let (otlp, timeout) = (Arc::clone(&self.otlp), self.timeout);
        // The batch processor's thread waits here. It has no runtime of its own.
        let sending = self.runtime.spawn(async move {
            let late = |_| Err(OTelSdkError::Timeout(timeout));
            tokio::time::timeout(timeout, otlp.export(batch)).await.unwrap_or_else(late)
        });
        let result = sending.await.unwrap_or_else(|err| Err(OTelSdkError::InternalFailure(err.to_string())));
        self.counts.sent(spans, &result);
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        // The provider sets the resource before the first batch, so there is no other owner of the exporter yet.
        if let Some(otlp) = Arc::get_mut(&mut self.otlp) {
            otlp.set_resource(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn counts(room: usize) -> SpanCounts {
        SpanCounts::new(room, &super::super::register(&Metrics::default()).unwrap())
    }

    #[test]
    fn what_does_not_fit_is_counted_as_dropped() {
        let counts = counts(2);
        assert_eq!([counts.enter(), counts.enter(), counts.enter()], [true, true, false]);
        assert_eq!(counts.dropped.get(), 1);
        counts.leave(2);
        assert!(counts.enter());
        counts.sent(2, &Ok(()));
        counts.sent(1, &Err(OTelSdkError::AlreadyShutdown));
        assert_eq!((counts.exported.get(), counts.failed.get(), counts.dropped.get()), (2, 1, 1));
    }

    #[test]
    fn a_loss_is_logged_once_a_minute() {
        let counts = counts(1);
        let begin = Instant::now();
        let last_warning = |seconds| {
            counts.failed.inc();
            counts.warn(Some(&OTelSdkError::AlreadyShutdown), begin + Duration::from_secs(seconds));
            counts.last_warning.lock().lost
        };
        assert_eq!(
            [
                last_warning(0),
                last_warning(1),
                last_warning(59),
                last_warning(60),
                last_warning(119),
                last_warning(120)
            ],
            [1, 1, 1, 4, 4, 6]
        );
    }
}
