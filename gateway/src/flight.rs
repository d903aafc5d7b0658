//! One fetch that any number of requests wait for, on whichever runtime they are.

use protocol::ShardId;
use serde_json::value::RawValue;
use std::sync::Arc;
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
}

impl Flight {
    pub(crate) fn new() -> Self {
        Self { result: watch::Sender::new(None) }
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
