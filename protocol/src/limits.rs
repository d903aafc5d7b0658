//! Defines the limits of the wire contract, shared by both ends.

/// Longest key, in bytes after percent-decoding.
pub const KEY_MAX_BYTES: usize = 512;
/// Longest encoded key: every byte as `%XX`.
pub const KEY_MAX_ENCODED_BYTES: usize = KEY_MAX_BYTES * 3;
/// Maximum size of a request body in bytes. Larger ones are answered with 413.
pub const BODY_MAX_BYTES: usize = 64 * 1024;
/// Maximum size of a shard's answer that the gateway accepts, in bytes.
pub const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// Shortest and longest cache time to live, in seconds.
pub const TTL_SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;
/// Maximum number of `top_keys` in the gateway's `/stats`.
pub const GATEWAY_TOP_KEYS: usize = 20;
/// Maximum number of `top_keys` in a shard's `/stats`.
pub const SHARD_TOP_KEYS: usize = 10;
