//! The first bytes of a response: enough for one request at a time.

/// The first bytes of a segment with answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstBytes {
    /// They begin an answer.
    pub begins: bool,
    /// It is an interim one (1xx).
    pub is_interim: bool,
    /// It is a usual one (2xx).
    pub is_success: bool,
}

impl FirstBytes {
    /// Judges the first twelve bytes, lowest first.
    #[must_use]
    #[inline(always)]
    pub const fn of(low: u64, high: u32) -> Self {
        const PREFIX: u64 = u64::from_le_bytes(*b"HTTP/1.\0");
        let class = (high >> 8) as u8;
        Self { begins: low << 8 == PREFIX << 8, is_interim: class == b'1', is_success: class == b'2' }
    }
}
