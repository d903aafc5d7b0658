//! The record beside pinned maps that the next probe reads.

/// Describes one set of pinned maps and links. All zeros is a set that is not completely pinned. The size of this
/// type must not change: a probe of another version has to read it to find out the layout.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// 1 once everything is pinned.
    pub complete: u64,
    /// [`LAYOUT`](crate::LAYOUT) of the probe that pinned the set.
    pub layout: u64,
    /// Hash of the list of shards. The map `SLOTS` has the entry of each shard of that list.
    pub shards: u64,
    /// Hash of the object that contains the programs.
    pub object: u64,
    /// Start of counting, in microseconds of Unix time.
    pub since: u64,
    /// Number of probes that have adopted the set.
    pub adoptions: u64,
    /// Reserved for later versions.
    pub spare: [u64; 2],
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]
// SAFETY: `repr(C)`, `Copy`, `u64` only, no padding.
unsafe impl aya::Pod for Mark {}
