//! Which shard an endpoint belongs to.

use aya_ebpf::{macros::map, maps::HashMap};
use probe_common::{MAX_ENDPOINTS, endpoint::Endpoint};

#[map]
static SHARDS: HashMap<Endpoint, u32> = HashMap::with_max_entries(MAX_ENDPOINTS, 0);

/// The number of the shard that listens there, if one does.
#[inline(always)]
pub fn find(key: &Words) -> Option<u32> {
    // SAFETY: entries are replaced by user space only, as a whole; a stale number is still a number.
    SHARDS.get_ptr(key.endpoint()).map(|shard| unsafe { *shard })
}

/// An endpoint in whole words: without `CAP_PERFMON` the verifier of 6.1 refuses a map key that was put on the stack
/// byte by byte.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Words([u64; 3]);

impl Words {
    /// The words of an endpoint.
    #[inline(always)]
    pub fn of(endpoint: Endpoint) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = endpoint.address;
        let words =
            [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])];
        Self::v6(words, endpoint.port)
    }

    /// The words of an IPv4 address in network order, v4-mapped.
    #[inline(always)]
    pub fn v4(address: u32, port: u16) -> Self {
        Self::v6([0, 0xffff_0000 | u64::from(address) << 32], port)
    }

    /// The words of an IPv6 address in network order.
    #[inline(always)]
    pub fn v6([first, second]: [u64; 2], port: u16) -> Self {
        let mut key = Self([0; 3]);
        // The kernel programs are little-endian: the port comes first, then the padding.
        for (place, word) in key.0.iter_mut().zip([first, second, u64::from(port)]) {
            // SAFETY: a live `u64`; volatile, so that the compiler does not go back to bytes.
            unsafe { core::ptr::write_volatile(place, word) };
        }
        key
    }

    /// Whether both are one endpoint.
    #[inline(always)]
    pub fn are(&self, other: &Self) -> bool {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        (a ^ x) | (b ^ y) | (c ^ z) == 0
    }

    #[inline(always)]
    fn endpoint(&self) -> &Endpoint {
        // SAFETY: `Endpoint` is 20 bytes of integers, any value of which is one; the words are 24, and aligned to more.
        unsafe { &*self.0.as_ptr().cast::<Endpoint>() }
    }
}
