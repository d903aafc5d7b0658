//! Shared by kernel programs and probe: map types, limits, request parser.
//!
//! Everything here is compiled twice: for the kernel (`probe-ebpf`, without features) and for the host (`probe` with
//! the feature `user`, tests, fuzzing). Therefore nothing allocates or panics. The kernel's verifier must be able to
//! bound every slice index.
//!
//! A payload segment passes through these modules:
//!
//! 1. [`endpoint`] identifies the shard.
//! 2. [`stream`] checks whether the bytes arrive in order.
//! 3. [`segment`] feeds the bytes to the parser. Its fast path recognises a repeated request without parsing.
//! 4. The parser of a [`protocol`] counts complete requests and extracts the [`key`]: [`http`], [`resp`].
//!
//! The probe reads [`requests`], [`keys`], [`traffic`], [`latency`] and [`connections`].

#![no_std]

pub mod connections;
pub mod endpoint;
pub mod http;
pub mod key;
pub mod keys;
pub mod latency;
pub mod pending;
pub mod pinned;
pub mod ports;
pub mod protocol;
pub mod requests;
pub mod resp;
pub mod responses;
pub mod segment;
pub mod socket;
pub mod stream;
pub mod traffic;

/// Maximum number of shards that a probe watches at the same time. Every per-shard map has this many entries, the
/// slots. Where the kernel programs speak of a shard's number, they mean its slot.
pub const MAX_SHARDS: u32 = 64;

/// Maximum number of watched addresses. A shard may have several.
pub const MAX_ENDPOINTS: u32 = 256;

/// Version of all types in this crate that kernel programs and probe share. Increase it with each change to one of
/// them.
pub const LAYOUT: u32 = 16;

/// Bytes that the kernel object contains as `LAYOUT_MARK`. The probe refuses an object with another layout.
pub const LAYOUT_MARK: [u8; 20] = layout_mark(LAYOUT);

/// The common prefix of every [`LAYOUT_MARK`], independent of the version.
pub const LAYOUT_MARK_PREFIX: [u8; 16] = *b"hotlab-layout-v=";

const fn layout_mark(version: u32) -> [u8; 20] {
    let mut mark = [0; 20];
    let mut at = 0;
    while at < LAYOUT_MARK_PREFIX.len() {
        mark[at] = LAYOUT_MARK_PREFIX[at];
        at += 1;
    }
    let mut digit = 0;
    let mut rest = version;
    while digit < 4 {
        mark[19 - digit] = b'0' + (rest % 10) as u8;
        rest /= 10;
        digit += 1;
    }
    mark
}
