//! One fetch that any number of requests wait for, on any runtime.

use service::traces::span::SpanRef;
use std::sync::OnceLock;
use tokio::sync::watch;

use crate::error::Error;
use crate::upstream::answer::Fetched;

/// A fetch in progress. All waiters get its result, including waiters that arrive after its end.
pub(crate) struct Flight {
    result: watch::Sender<Option<Fetched>>,
    cause: OnceLock<SpanRef>,
}

impl Flight {
    pub(crate) fn new() -> Self {
        Self { result: watch::Sender::new(None), cause: OnceLock::new() }
    }

    /// Sets the span of the request that caused the fetch. Call it once, before the fetch begins.
    pub(crate) fn set_cause(&self, cause: SpanRef) {
        // Fails only if the span is already set. The owner of the fetch sets it once.
        let _ = self.cause.set(cause);
    }

    /// The span of the request that caused the fetch. It is set by the time the flight ends.
    pub(crate) fn cause(&self) -> SpanRef {
        self.cause.get().cloned().unwrap_or_default()
    }

    /// Ends the flight with `result`.
    pub(crate) fn land(&self, result: Fetched) {
        self.result.send_replace(Some(result));
    }

    /// Waits for the result. Cancel safe: dropping the future does not affect the flight.
    pub(crate) async fn landed(&self) -> Fetched {
        let mut result = self.result.subscribe();
        // `self` holds the sender, so the channel stays open and the wait ends with a result.
        match result.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(fetched)) => fetched.clone(),
            _ => Err(Error::Internal { what: "a fetch ended without a result" }),
        }
    }
}
