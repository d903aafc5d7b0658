//! Bytes that are expected to repeat.

/// Words that are kept: 128 bytes.
pub(super) const CACHED_WORDS: usize = 16;

/// The bytes after the key of the last read, from the space on; or the head of the last response.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedBytes {
    pub(super) words: [u64; CACHED_WORDS],
    /// Length in bytes. 0 if nothing is cached.
    pub(super) length: u32,
    /// Length of the response's body in bytes.
    pub(super) body: u32,
    /// Offset of the first byte of the response being read.
    pub(super) response_at: u32,
    pub(super) padding: u32,
}

impl CachedBytes {
    /// Nothing is cached.
    pub(super) const EMPTY: Self =
        Self { words: [0; CACHED_WORDS], length: 0, body: 0, response_at: 0, padding: 0 };
}
