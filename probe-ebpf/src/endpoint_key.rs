//! An endpoint as a map key of whole words.

use probe_common::endpoint::Endpoint;

/// An [`Endpoint`] that is built and compared by words, which takes fewer instructions than by bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EndpointKey([u64; 3]);

impl EndpointKey {
    /// Converts an endpoint into a key.
    #[inline(always)]
    pub fn of(endpoint: Endpoint) -> Self {
        Self(endpoint.words())
    }

    /// Returns the endpoint's words.
    #[inline(always)]
    pub const fn words(&self) -> [u64; 3] {
        self.0
    }

    /// Whether both are the same endpoint.
    #[inline(always)]
    pub fn equals(&self, other: &Self) -> bool {
        let ([a, b, c], [x, y, z]) = (self.0, other.0);
        (a ^ x) | (b ^ y) | (c ^ z) == 0
    }

    /// Returns the key as an endpoint.
    #[inline(always)]
    pub fn endpoint(&self) -> &Endpoint {
        // SAFETY: `Endpoint` is 20 bytes of integers, and any value is valid. The words are 24 bytes with a larger
        // alignment.
        unsafe { &*self.0.as_ptr().cast::<Endpoint>() }
    }
}
