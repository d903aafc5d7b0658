//! The state that all runtimes of a shard share.

use hotspot::window::Access;
use protocol::{Key, ShardId};
use service::overload::Overload;
use service::traces::Traces;

use crate::capacity::{Capacity, Turn};
use crate::error::Refusal;
use crate::request_counts::{Request, RequestCounts};
use crate::stats::Stats;
use crate::store::Store;
use crate::timer::Timer;

/// The state that all runtimes of a shard share.
pub struct Shard {
    pub(crate) id: ShardId,
    /// Start of counting in Unix seconds.
    pub(crate) started_at: f64,
    pub(crate) counts: RequestCounts,
    pub(crate) capacity: Capacity,
    pub(crate) timer: Timer,
    pub(crate) store: Store,
    pub(crate) stats: Stats,
    pub(crate) traces: Traces,
    pub(crate) overload: Overload,
}

impl Shard {
    /// Counts `request` as an access to `key`, waits for a place, and holds the request for its service time.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) async fn serve(
        &self,
        request: &mut Request<'_>,
        key: &Key,
        access: Access,
    ) -> Result<Turn<'_>, Refusal> {
        request.reads(key);
        self.stats.record(key, access);
        let turn = self.capacity.enter().await.ok_or(Refusal::Overloaded)?;
        self.timer.sleep(turn.time()).await;
        Ok(turn)
    }
}
