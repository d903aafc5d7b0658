//! The limits of the wire contract, in one place because both ends enforce them.

/// Longest key, in bytes after percent-decoding.
pub const KEY_MAX_BYTES: usize = 512;
/// Longest encoded key: every byte as `%XX`.
pub const KEY_MAX_ENCODED_BYTES: usize = KEY_MAX_BYTES * 3;
/// Longest request body, in bytes; one more is answered with 413.
pub const BODY_MAX_BYTES: usize = 64 * 1024;
/// Longest answer the gateway accepts from a shard, in bytes.
pub const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// Shortest and longest cache time to live, in seconds.
pub const TTL_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;
/// Most entries of `top_keys` in the gateway's `/stats`.
pub const GATEWAY_TOP_KEYS: usize = 20;
/// Most entries of `top_keys` in a shard's `/stats`.
pub const SHARD_TOP_KEYS: usize = 10;
