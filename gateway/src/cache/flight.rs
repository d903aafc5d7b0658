//! One fetch that any number of requests wait for, on whichever runtime they are.

use protocol::ShardId;
use serde_json::value::RawValue;
use service::traces::span::SpanRef;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

use crate::error::Error;

/// A value, and who gave it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// As the shard wrote it.
    pub(crate) value: Arc<RawValue>,
    /// The shard that holds it.
    pub(crate) shard: ShardId,
}

/// What a fetch ends with: a value, or why there is none.
pub(crate) type Fetched = Result<Found, Error>;

/// A fetch under way. Its result reaches everybody who waits, also those who come after it.
pub(crate) struct Flight {
    result: watch::Sender<Option<Fetched>>,
    cause: OnceLock<SpanRef>,
}

impl Flight {
    pub(crate) fn new() -> Self {
        Self { result: watch::Sender::new(None), cause: OnceLock::new() }
    }

    /// Notes the span of the request that the fetch is made for; to be called before the fetch begins.
    pub(crate) fn made_for(&self, cause: SpanRef) {
        // Called once, by who has begun the flight.
        let _ = self.cause.set(cause);
    }

    /// The span of the request that the fetch was made for; there once it has landed.
    pub(crate) fn cause(&self) -> SpanRef {
        self.cause.get().cloned().unwrap_or_default()
    }

    /// Ends the flight.
    pub(crate) fn land(&self, result: Fetched) {
        self.result.send_replace(Some(result));
    }

    /// Waits for the end. May be dropped at any time without an effect on the flight.
    pub(crate) async fn landed(&self) -> Fetched {
        let mut result = self.result.subscribe();
        // `self` holds the sender, so the channel is open and the wait ends with a result.
        match result.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(fetched)) => fetched.clone(),
            _ => Err(Error::Internal { what: "a fetch ended without a result" }),
        }
    }
}
