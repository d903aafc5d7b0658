//! The places beyond the limit of connections.
//!
//! They are few, and each is soon free again: a connection without a request loses its place when all are taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::connection::Progress;
use crate::limits::RESERVE;

/// How long a connection keeps its place without a complete request head while all places are taken. A connection that
/// waited in the accept queue usually has its request in the socket.
const HEAD_TIMEOUT: Duration = Duration::from_millis(50);

/// The places beyond the limit. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reserve(Arc<Semaphore>);

impl Default for Reserve {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(RESERVE)))
    }
}

impl Reserve {
    /// Waits for a place.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.ok()
    }

    /// Returns when the connection has no complete request head yet and all places are taken.
    pub(crate) async fn needed_by_others(&self, progress: &Progress) {
        loop {
            tokio::time::sleep(HEAD_TIMEOUT).await;
            if progress.begun() == 0 && self.0.available_permits() == 0 {
                return;
            }
        }
    }
}
