//! Signal `traffic`: reads the kernel's byte and packet counters.

use probe_common::traffic::Traffic;

use crate::kernel::per_shard::PerShard;

/// The map `TRAFFIC`.
pub type TrafficMap = PerShard<Traffic>;

impl TrafficMap {
    /// The map's name in the object.
    pub const NAME: &str = "TRAFFIC";
}
