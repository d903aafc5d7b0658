//! Which shard an endpoint belongs to.

use aya_ebpf::{macros::map, maps::HashMap};
use probe_common::{MAX_ENDPOINTS, endpoint::Endpoint};

#[map]
static SHARDS: HashMap<Endpoint, u32> = HashMap::with_max_entries(MAX_ENDPOINTS, 0);

/// The number of the shard that listens there, if one does.
#[inline(always)]
pub fn find(endpoint: Endpoint) -> Option<u32> {
    // SAFETY: entries are replaced by user space only, as a whole; a stale number is still a number.
    SHARDS.get_ptr(endpoint).map(|shard| unsafe { *shard })
}
