//! The idle connections of one core to the shards.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

use crate::http1::connection::Connection;

/// How long a connection may be idle. It is shorter than the shards' own timeout, so that the gateway closes first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often connections that are closed, or idle for too long, are removed.
pub(crate) const SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// The idle connections of one core, by shard.
pub(crate) struct Pool {
    shards: Box<[Mutex<Vec<Idle>>]>,
    /// Largest number of idle connections to one shard.
    limit: usize,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(shards: usize, limit: usize) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), limit }
    }

    /// Takes the connection that was used last. It is still open, as far as the runtime knows.
    pub(super) fn take(&self, shard: usize) -> Option<Connection> {
        let mut idle = self.shards.get(shard)?.lock();
        std::iter::from_fn(|| idle.pop()).map(|idle| idle.connection).find(Connection::is_open)
    }

    /// Keeps a connection, unless there are enough.
    pub(super) fn put(&self, shard: usize, connection: Connection) {
        let Some(idle) = self.shards.get(shard) else { return };
        let mut idle = idle.lock();
        if idle.len() < self.limit {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Removes connections that are closed, or idle for too long.
    pub(crate) fn sweep(&self) {
        for idle in &self.shards {
            idle.lock().retain(|idle| idle.since.elapsed() < IDLE_TIMEOUT && idle.connection.is_open());
        }
    }
}
