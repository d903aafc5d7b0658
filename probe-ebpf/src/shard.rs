//! Which shard an endpoint belongs to.

use aya_ebpf::{macros::map, maps::HashMap};
use probe_common::{MAX_ENDPOINTS, endpoint::Endpoint};

#[map]
static SHARDS: HashMap<Endpoint, u32> = HashMap::with_max_entries(MAX_ENDPOINTS, 0);

/// The number of the shard that listens there, if one does.
#[inline(always)]
pub fn find(endpoint: Endpoint) -> Option<u32> {
    let key = Key::of(endpoint);
    // SAFETY: entries are replaced by user space only, as a whole; a stale number is still a number.
    SHARDS.get_ptr(key.endpoint()).map(|shard| unsafe { *shard })
}

/// An endpoint on the stack, written in whole words: without `CAP_PERFMON` the verifier of 6.1 refuses a map key that
/// was put there byte by byte.
struct Key([u64; 3]);

impl Key {
    #[inline(always)]
    fn of(endpoint: Endpoint) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = endpoint.address;
        let words = [
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
            // The kernel programs are little-endian: the port comes first, then the padding.
            u64::from(endpoint.port),
        ];
        let mut key = Self([0; 3]);
        for (place, word) in key.0.iter_mut().zip(words) {
            // SAFETY: a live `u64`; volatile, so that the compiler does not go back to bytes.
            unsafe { core::ptr::write_volatile(place, word) };
        }
        key
    }

    #[inline(always)]
    fn endpoint(&self) -> &Endpoint {
        // SAFETY: `Endpoint` is 20 bytes of integers, any value of which is one; the words are 24, and aligned to more.
        unsafe { &*self.0.as_ptr().cast::<Endpoint>() }
    }
}
