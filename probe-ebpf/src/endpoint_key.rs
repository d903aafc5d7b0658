//! An endpoint in whole words, as a map key.

use probe_common::endpoint::Endpoint;

/// An [`Endpoint`] that is built and compared word by word, which takes fewer instructions than byte by byte.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EndpointKey([u64; 3]);

impl EndpointKey {
    /// The key of an endpoint.
    #[inline(always)]
    pub fn of(endpoint: Endpoint) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = endpoint.address;
        Self([
            u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
            // The kernel programs are little-endian: the port comes first, then the padding.
            u64::from(endpoint.port),
        ])
    }

    /// Whether both are the same endpoint.
    #[inline(always)]
    pub fn equals(&self, other: &Self) -> bool {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        (a ^ x) | (b ^ y) | (c ^ z) == 0
    }

    /// The endpoint.
    #[inline(always)]
    pub fn endpoint(&self) -> &Endpoint {
        // SAFETY: `Endpoint` is 20 bytes of integers, and any value is valid; the words are 24 bytes with a larger alignment.
        unsafe { &*self.0.as_ptr().cast::<Endpoint>() }
    }
}
