//! The record beside pinned maps that the next probe reads.

/// One set of pinned maps and links. All zeros is a set that is not completely pinned. Its size must not change:
/// the next probe may be of another version, and has to read it to know.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// 1 once everything is pinned.
    pub complete: u64,
    /// [`LAYOUT`](crate::LAYOUT) of the probe that pinned it.
    pub layout: u64,
    /// A hash of the shards' list: entry n of every map is shard n of that list.
    pub shards: u64,
    /// A hash of the object its programs are from.
    pub object: u64,
    /// When counting began, in microseconds of Unix time.
    pub since: u64,
    /// How many probes have gone on with it.
    pub adoptions: u64,
    /// For versions to come.
    pub spare: [u64; 2],
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, `u64` only, no padding.
unsafe impl aya::Pod for Mark {}
