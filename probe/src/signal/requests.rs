//! Signal `requests`: reads the kernel's request counters.

use probe_common::requests::Requests;

use crate::kernel::per_shard::PerShard;

/// The map `REQUESTS`.
pub type RequestsMap = PerShard<Requests>;

impl RequestsMap {
    /// The map's name in the object.
    pub const NAME: &str = "REQUESTS";
}
