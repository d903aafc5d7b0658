//! Shared by kernel programs and probe: map types, limits, request parser.
//!
//! Everything here is compiled twice: for the kernel (`probe-ebpf`, without features) and for the host (`probe`,
//! feature `user`; tests; fuzzing). So nothing allocates, nothing panics, and no slice is indexed by a value the
//! kernel's verifier cannot bound.
//!
//! A payload segment's way: [`endpoint`] says which shard it is for, [`stream`] whether its bytes come in order,
//! [`segment`] feeds them to [`head`], which counts complete request heads and extracts the [`key`]; its fast path
//! recognises a repeated request without parsing. The probe reads [`requests`], [`keys`], [`traffic`], [`latency`] and
//! [`connections`].

#![no_std]

pub mod connections;
pub mod endpoint;
pub mod head;
pub mod key;
pub mod keys;
pub mod latency;
pub mod pending;
pub mod pinned;
pub mod ports;
pub mod requests;
pub mod responses;
pub mod segment;
pub mod socket;
pub mod stream;
pub mod traffic;

/// Shards that can be watched at once; every per-shard map has this many entries.
pub const MAX_SHARDS: u32 = 64;

/// Addresses that can be watched at once: a shard may have several.
pub const MAX_ENDPOINTS: u32 = 256;

/// Version of every type in this crate that crosses the kernel boundary. Raise it with each change to one of them.
pub const LAYOUT: u32 = 10;

/// Bytes that stand in the kernel object as `LAYOUT_MARK`, so that the probe refuses an object of another layout.
pub const LAYOUT_MARK: [u8; 20] = layout_mark(LAYOUT);

/// What every [`LAYOUT_MARK`] begins with, whatever its version.
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
